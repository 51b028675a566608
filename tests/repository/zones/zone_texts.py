"""One zone as people have it: of octoDNS, as DNSEndpoints, and as a zone file."""

__all__ = ["ENDPOINTS", "OCTODNS", "ZONE", "ZONE_FILE"]

ZONE = "docs.example"

OCTODNS = """\
---
# The zone of the docs team.
'':
  - type: A
    value: 192.0.2.1
  - type: MX
    values:
      - exchange: mx1.docs.example.
        preference: 10
      - exchange: mx2.docs.example.
        preference: 20

# owner: @ann
api:
  ttl: 600
  type: CNAME
  value: www.docs.example.
# owner: @dan
# (asked for by finance)
null:
  type: A
  value: 192.0.2.9   # keep
# owner: @bob
web2:
  type: A
  values:
    - 192.0.2.3
    - 192.0.2.5
# owner: @eve
web10:
  type: TXT
  value: v=DKIM1\\; k=rsa
"""

ENDPOINTS = """\
apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata:
  name: docs
  namespace: docs-live
spec:
  endpoints:
    # the site
    - dnsName: api.docs.example
      recordTTL: 300
      recordType: CNAME
      targets: [www.docs.example]
    - dnsName: www.docs.example
      recordTTL: 300
      recordType: A
      targets:
        - 192.0.2.1
        - 192.0.2.2   # second
    - dnsName: www.other.example
      recordType: A
      targets: ["192.0.2.77"]
"""

ZONE_FILE = """\
$ORIGIN docs.example.
$TTL 300
; the zone
@       IN  SOA ns1 hostmaster (
              2024010203 ; serial
              3600 600 604800 60 )
        IN  NS  ns1
        IN  NS  ns2.other.example.
@       IN  MX  10 mail
api     IN  CNAME www
; mail
mail    600 IN A 192.0.2.9
ns1     IN  A   127.0.0.1
www     IN  A   192.0.2.1   ; main
        IN  A   192.0.2.2
        IN  TXT "hi; there" "x"
zed     IN  AAAA 2001:db8::1
"""
