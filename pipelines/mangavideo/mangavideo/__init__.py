"""Comic chapters become narrated videos on a video host."""
