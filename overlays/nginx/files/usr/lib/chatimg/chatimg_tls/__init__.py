"""The certificate that services show.

certificate  what is in one
places       where those lie that there are, and which one is used
"""
