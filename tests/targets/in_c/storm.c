/* Bounded storms: storm WHAT COUNT. Exits with 0 if nothing went wrong that it can see itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_signal(int number) { (void)number; }

/* All at once: each forks, and they end in any order. */
static int forks(int count) {
    int begun = 0, ended = 0;
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid == 0) _exit(i % 7);
        if (pid > 0) begun++;
    }
    while (wait(0) > 0) ended++;
    return begun == count && ended == count ? 0 : 1;
}

/* SIGCHLD is ignored: the kernel reaps, and nobody waits. */
static int ignored(int count) {
    signal(SIGCHLD, SIG_IGN);
    return forks(count) == 1 ? 0 : 2; /* wait() found none */
}

/* Its calls are held while signals of a timer interrupt it. */
static int interrupted(int count) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGALRM, &action, 0);
    sigaction(SIGUSR1, &action, 0);
    struct itimerval every = {{0, 500}, {0, 500}};
    setitimer(ITIMER_REAL, &every, 0);
    int failed = 0;
    for (int i = 0; i < count; i++)
        if (kill(getpid(), SIGUSR1) != 0) failed++;
    memset(&every, 0, sizeof every);
    setitimer(ITIMER_REAL, &every, 0);
    printf("interrupted %d\n", failed);
    return 0;
}

static void *in_thread(void *argument) {
    for (;;) pause();
    return argument;
}

/* Processes that fork, and then exit with a thread that waits, while a timer interrupts them. */
static int exits(int count) {
    struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
    sigaction(SIGALRM, &action, 0);
    int failed = 0;
    for (int i = 0; i < count; i++) {
        pid_t pid = fork(), child;
        int status;
        if (pid == 0) {
            pthread_t thread;
            pthread_create(&thread, 0, in_thread, 0);
            struct itimerval every = {{0, 200}, {0, 200}};
            setitimer(ITIMER_REAL, &every, 0);
            if ((child = fork()) == 0) _exit(7);
            if (child < 0) _exit(2);
            while (waitpid(child, &status, 0) != child) continue;
            _exit(3);
        }
        while (waitpid(pid, &status, 0) != pid) continue;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 3) failed++;
    }
    printf("failed %d\n", failed);
    return failed;
}

/* A sender is killed, or stopped and continued, while its own calls are held. */
static int senders(int count) {
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            signal(SIGUSR1, SIG_IGN);
            for (;;) kill(getpid(), SIGUSR1);
        }
        kill(pid, SIGSTOP);
        kill(pid, SIGCONT);
        kill(pid, SIGKILL);
        int status;
        if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status)) return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    int count = argc > 2 ? atoi(argv[2]) : 10;
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "forks")) return forks(count);
    if (!strcmp(what, "ignored")) return ignored(count);
    if (!strcmp(what, "interrupted")) return interrupted(count);
    if (!strcmp(what, "senders")) return senders(count);
    if (!strcmp(what, "exits")) return exits(count);
    return 64;
}
