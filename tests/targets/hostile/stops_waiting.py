try_each(lambda pid: os.kill(pid, signal.SIGSTOP), other_graders())
