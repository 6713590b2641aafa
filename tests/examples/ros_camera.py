"""A node of ROS 2 that sends a file of EVT3 words as a camera's driver does: ros_camera.py FILE TOPIC SIZE."""

import sys
import time
from pathlib import Path

import rclpy
from event_camera_msgs.msg import EventPacket
from rclpy.qos import QoSProfile, ReliabilityPolicy

PACKET, PAUSE, PATIENCE = 400, 0.005, 30
"""The bytes of a packet, the seconds between two, and the most seconds until somebody listens."""

file, topic, size = sys.argv[1:]
words = Path(file).read_bytes()
rclpy.init()
node = rclpy.create_node("camera")
profile = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
publisher = node.create_publisher(EventPacket, topic, profile)
end = time.monotonic() + PATIENCE
while not publisher.get_subscription_count() and time.monotonic() < end:
    time.sleep(0.05)
time.sleep(0.5)  # the listener has seen it, too
for number, at in enumerate(range(0, len(words), PACKET)):
    packet = EventPacket(height=int(size), width=int(size), seq=number, encoding="evt3")
    packet.header.frame_id, packet.header.stamp = "camera", node.get_clock().now().to_msg()
    packet.events = words[at : at + PACKET]
    publisher.publish(packet)
    time.sleep(PAUSE)
time.sleep(1)  # what was sent arrives
rclpy.shutdown()
