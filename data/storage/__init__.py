"""Where members are kept: a folder, or object storage, behind one port."""
