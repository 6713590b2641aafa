"""A ROS 2 node that classifies an event camera: python3 classifier.py --ros-args -p bundle:=B -r events:=TOPIC."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import rclpy
from event_camera_msgs.msg import EventPacket
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from vision_msgs.msg import Classification, ObjectHypothesis

import tcja_runtime as tcja
from tcja_runtime.events.pushed import PacketSource


def classify() -> None:
    """Publish the classes of each window, in a thread, until the stream or ROS ends."""
    try:
        for found in stream:
            results = [ObjectHypothesis(class_id=name, score=score) for name, score in found.top(5)]
            if rclpy.ok():
                publisher.publish(Classification(header=packets.newest.header, results=results))
                node.get_logger().info(f"{found.events} events, {found.dropped} dropped: {found}")
    finally:
        rclpy.try_shutdown()  # an error ends the node, too


rclpy.init()
node = rclpy.create_node("classifier")
bundle, window = (node.declare_parameter(*each).value for each in (("bundle", "model.bundle"), ("window", "500ms")))
packets = PacketSource(node.resolve_topic_name("events"))
best_effort = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)  # reliable drivers send to it, too
publisher = node.create_publisher(Classification, "~/predictions", 10)
with tcja.load(bundle) as net, net.stream(packets, window=window) as stream, ThreadPoolExecutor(1) as pool:
    node.create_subscription(EventPacket, "events", packets.push, best_effort)
    done = pool.submit(classify)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)
    stream.close()
    done.result()
print(*stream.summary.remarks, f"{stream.summary.windows} windows, {stream.summary.dropped} events dropped", sep="\n")
