"""The certificate that an authority gives, by ACME.

settings  what the image and this box's settings say
names     where the box's names lead
dns       a question to a DNS server
state     what is remembered from one look to the next
decide    what is to be done now
certbot   asks the authority
look      all of that, as the user certs
root      what comes before and after it
"""
