"""Pictures (PNG, JPEG) as the images that a network takes."""
