try_each(lambda pid: os.kill(pid, signal.SIGKILL), other_graders())
