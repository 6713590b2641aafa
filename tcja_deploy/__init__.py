"""tcja-deploy: from a trained TCJA-SNN to a verified bundle for a Jetson."""
