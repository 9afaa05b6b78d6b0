"""The stages of a session on a GPU (``bench/gpu_session.py``), a file each."""
