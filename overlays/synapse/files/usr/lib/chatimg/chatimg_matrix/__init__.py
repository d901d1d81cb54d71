"""What the commands of chatimg-admin that have to do with people share: names, passwords, and how Synapse is asked."""
