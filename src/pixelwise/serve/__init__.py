"""The REST service: photos in, masks out. Needs `pip install 'pixelwise[serve]'`."""
