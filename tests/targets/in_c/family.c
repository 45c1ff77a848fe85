/* A program in C that forks, executes, signals and waits in each way; prints a line per process. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void note(const char *role, pid_t pid) { printf("%s %d\n", role, (int)pid); fflush(stdout); }

static pid_t sleeper(void) {
    pid_t pid = fork();
    if (pid == 0) for (;;) pause();
    return pid;
}

static void collect(pid_t pid) { int status; waitpid(pid, &status, 0); }

static void *in_thread(void *unused) {
    pid_t pid = fork();
    if (pid == 0) _exit(7);
    note("of_thread", pid);
    collect(pid);
    return unused;
}

int main(void) {
    pid_t pid = sleeper();
    note("killed", pid);
    kill(pid, SIGTERM);
    collect(pid);

    pid = sleeper();
    note("queued", pid);
    sigqueue(pid, SIGUSR1, (union sigval){0});
    collect(pid);

    pid = sleeper();
    note("by_pidfd", pid);
    int handle = syscall(SYS_pidfd_open, pid, 0);
    syscall(SYS_pidfd_send_signal, handle, SIGHUP, 0, 0);
    collect(pid);

    pid = sleeper();
    note("by_thread_id", pid);
    syscall(SYS_tgkill, pid, pid, SIGUSR2);
    collect(pid);

    pid = fork();
    if (pid == 0) { setpgid(0, 0); for (;;) pause(); }
    setpgid(pid, pid);
    note("of_group", pid);
    kill(-pid, SIGINT);
    collect(pid);

    pid = fork();
    if (pid == 0) { raise(SIGKILL); }
    note("raised", pid);
    collect(pid);

    pid = fork();
    if (pid == 0) { alarm(1); for (;;) pause(); }
    note("alarmed", pid);
    collect(pid);

    pid = vfork();
    if (pid == 0) { execl("/bin/true", "true", "vforked", (char *)0); _exit(127); }
    note("vforked", pid);
    collect(pid);

    char *arguments[] = {"sh", "-c", "exit 6", 0};
    posix_spawn(&pid, "/bin/sh", 0, 0, arguments, environ);
    note("spawned", pid);
    collect(pid);

    pid = fork();
    if (pid == 0) {
        setsid();
        pid = fork();
        if (pid == 0) {
            note("forked_twice", getpid());
            for (int descriptor = 0; descriptor < 1024; descriptor++) close(descriptor);
            _exit(4);
        }
        _exit(0);
    }
    note("between", pid);
    collect(pid);

    pthread_t thread;
    pthread_create(&thread, 0, in_thread, 0);
    pthread_join(thread, 0);
    return 0;
}
