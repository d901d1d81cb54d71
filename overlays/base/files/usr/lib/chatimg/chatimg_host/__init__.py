"""The box's host settings: what differs from box to box on the same image.

check    what settings may say; chatimg's src/host/ judges the same before it writes a disk
files    where they are kept: settings.json, one file per secret
network  the files of systemd's network services
apply    brings them into force
"""
