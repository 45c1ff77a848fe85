import stat

for number in range(3, 2000):
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            os.write(number, b"x" * 1000)
os.closerange(3, 2000)
