/* Waits as programs do: waits WORD. Exits with 0 if each wait returned what wait(2) says of it.
 *
 * A child that is to stay sleeps for a minute, unless it is killed. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(what) if (!(what)) { fprintf(stderr, "line %d: %s, %s\n", __LINE__, #what, strerror(errno)); exit(1); }

static volatile int caught;
static void on_signal(int number) { (void)number; caught++; }

static void handle(int number, int flags) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    MUST(sigaction(number, &action, 0) == 0);
}

static void rest(int ms) { usleep(ms * 1000); }

/* A child that exits with a code after a time; code 0 for one that stays. */
static pid_t child(int code, int ms) {
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        if (code == 0) sleep(60);
        rest(ms);
        _exit(code);
    }
    return pid;
}

static void end(pid_t pid, int options) {
    int status;
    MUST(kill(pid, SIGKILL) == 0);
    MUST(waitpid(pid, &status, options) == pid && WTERMSIG(status) == SIGKILL);
}

static int has_code(int status, int code) { return WIFEXITED(status) && WEXITSTATUS(status) == code; }

static void timer(void) { /* a wait that is interrupted returns, and one that restarts goes on */
    struct itimerval soon = {.it_value = {.tv_usec = 100000}};
    int status;
    pid_t stays = child(0, 0);
    handle(SIGALRM, 0);
    MUST(setitimer(ITIMER_REAL, &soon, 0) == 0);
    MUST(wait(&status) == -1 && errno == EINTR && caught == 1);
    handle(SIGALRM, SA_RESTART);
    pid_t ends = child(3, 300);
    MUST(setitimer(ITIMER_REAL, &soon, 0) == 0);
    MUST(wait(&status) == ends && has_code(status, 3) && caught == 2);
    end(stays, 0);
}

static void handler(void) { /* of SIGCHLD; a call can be interrupted until it is held */
    int status;
    handle(SIGCHLD, 0);
    for (int n = 0; n < 30; n++) {
        pid_t found, pid = child(n % 7 + 1, n % 3);
        do found = wait(&status); while (found == -1 && errno == EINTR);
        MUST(found == pid && has_code(status, n % 7 + 1));
    }
    MUST(caught == 30);
}

static void other(void) { /* the SIGCHLD of another child is handled while the wait goes on */
    int status;
    handle(SIGCHLD, SA_RESTART);
    pid_t other = child(4, 50), meant = child(5, 400);
    MUST(waitpid(meant, &status, 0) == meant && has_code(status, 5) && caught == 2);
    MUST(waitpid(other, &status, 0) == other && has_code(status, 4));
}

static void stopped(void) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        raise(SIGSTOP);
        _exit(6);
    }
    MUST(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    MUST(kill(pid, SIGCONT) == 0);
    MUST(waitpid(pid, &status, 0) == pid && has_code(status, 6));
}

static void ignored(void) {
    signal(SIGCHLD, SIG_IGN);
    for (int n = 0; n < 3; n++) child(7, 100);
    MUST(wait(0) == -1 && errno == ECHILD);
}

static int stays(void *unused) {
    (void)unused;
    sleep(60);
    return 0;
}

static void cloned(void) { /* a child that sends no SIGCHLD is waited for with __WALL alone */
    static char stack[1 << 16];
    pid_t pid = clone(stays, stack + sizeof stack, 0, 0);
    MUST(pid > 0);
    MUST(wait(0) == -1 && errno == ECHILD);
    end(pid, __WALL);
}

static void traced(void) { /* what a tracer attached to need not be its child */
    int pipes[2], status;
    pid_t pid, grandchild, stays = child(0, 0);
    MUST(pipe(pipes) == 0);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    pid_t between = fork();
    if (between == 0) {
        pid = child(0, 0);
        MUST(write(pipes[1], &pid, sizeof pid) == sizeof pid);
        sleep(60);
    }
    MUST(read(pipes[0], &grandchild, sizeof grandchild) == sizeof grandchild);
    MUST(ptrace(PTRACE_ATTACH, grandchild, 0, 0) == 0);
    MUST(wait4(-1, &status, 0, 0) == grandchild && WIFSTOPPED(status));
    MUST(ptrace(PTRACE_DETACH, grandchild, 0, SIGKILL) == 0);
    end(between, 0);
    end(stays, 0);
}

static void subreaper(void) { /* a child that was not there when the wait began */
    int status;
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
    pid_t stays = child(0, 0), between = fork();
    if (between == 0) {
        child(8, 200);
        rest(100);
        _exit(9);
    }
    MUST(wait(&status) == between && has_code(status, 9));
    MUST(wait(&status) > 0 && has_code(status, 8));
    end(stays, 0);
}

static void chosen(void) { /* by pid, group and pidfd, and without collecting it */
    siginfo_t info;
    int status;
    pid_t stays = child(0, 0), pid = child(10, 100);
    setpgid(pid, pid);
    MUST(waitid(P_PID, pid, &info, WEXITED | WNOWAIT) == 0 && info.si_status == 10);
    MUST(waitpid(-pid, &status, 0) == pid && has_code(status, 10));
    pid = child(11, 100);
    setpgid(pid, pid);
    MUST(waitid(P_PGID, pid, &info, WEXITED) == 0 && info.si_pid == pid && info.si_status == 11);
    pid = child(12, 100);
    int descriptor = syscall(SYS_pidfd_open, pid, 0);
    MUST(waitid(3 /* P_PIDFD */, descriptor, &info, WEXITED) == 0 && info.si_status == 12);
    pid = child(13, 100);
    MUST(waitpid(0, &status, 0) == pid && has_code(status, 13));
    MUST(waitpid(getpid() + 100000, &status, 0) == -1 && errno == ECHILD);
    end(stays, 0);
}

static void *wait_for_one(void *ms) {
    int status, code = 20 + (long)ms % 7;
    pid_t pid = child(code, (long)ms);
    MUST(waitpid(pid, &status, 0) == pid && has_code(status, code));
    return 0;
}

static void threads(void) {
    pthread_t threads[4];
    for (long n = 0; n < 4; n++) pthread_create(&threads[n], 0, wait_for_one, (void *)(50 * (4 - n)));
    for (int n = 0; n < 4; n++) pthread_join(threads[n], 0);
}

/* The state of a process, as /proc shows it. */
static char state(pid_t pid) {
    char path[40], letter = 0;
    sprintf(path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%*d %*s %c", &letter) != 1) letter = 0;
    if (file) fclose(file);
    return letter;
}

static void stops(void) { /* one that waits stops and goes on as told */
    int status;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        rest(100);
        kill(parent, SIGSTOP);
        for (int n = 0; state(parent) != 'T'; n++) {
            if (n > 500) _exit(1);
            rest(10);
        }
        kill(parent, SIGCONT);
        _exit(14);
    }
    MUST(wait(&status) == pid && has_code(status, 14));
}

static void quits(void) { /* one that waits dies of a signal that dumps core, and at once */
    int status;
    pid_t waits = fork();
    if (waits == 0) {
        child(0, 0);
        wait(0);
        _exit(1);
    }
    rest(100);
    MUST(kill(waits, SIGQUIT) == 0);
    MUST(waitpid(waits, &status, 0) == waits && WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT);
}

int main(int count, char **words) {
    struct { const char *word; void (*act)(void); } acts[] = {
        {"timer", timer}, {"handler", handler}, {"other", other}, {"stopped", stopped},
        {"ignored", ignored}, {"cloned", cloned}, {"traced", traced}, {"subreaper", subreaper},
        {"chosen", chosen}, {"threads", threads}, {"stops", stops}, {"quits", quits},
    };
    for (unsigned n = 0; count > 1 && n < sizeof acts / sizeof *acts; n++)
        if (strcmp(acts[n].word, words[1]) == 0) {
            acts[n].act();
            return 0;
        }
    return 2;
}
