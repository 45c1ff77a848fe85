block = bytearray()
while True:
    block += bytes(1 << 25)
