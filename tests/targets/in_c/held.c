/* Does what a word says, and ends by itself whatever it says: held WORD
 *
 *     f(...)  fork; the child does what is in brackets
 *     d(...)  as f, but by a process between that ends at once
 *     r(...)  as f, traced by this process: ptrace(2), each system call of it a stop
 *     t(...)  a thread; it is joined at the end of the process
 *     v, p    vfork; posix_spawn of `true`
 *     w, n, i wait for each child; look for one; ask for one without collecting it: each only for
 *             the thread's own, or it would take a stop of a traced child from its tracer
 *     k??     kill: m itself, p who started it, c the last child, g its group; with one of
 *             0, U (is caught), I (is ignored), T, K, S (of its child alone; SIGCONT follows)
 *     a, A    a timer that interrupts it each half millisecond; no more of it
 *     x       exit, whatever comes after it
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* A process and its threads: each thread knows its own last child. */
struct place {
    int parent; /* a pidfd of who started it, which cannot become another's; or -1 */
    pid_t last;
    pthread_t threads[8];
    int count;
};

static void on_signal(int number) { (void)number; }

/* The bracket that closes the one at `at`. */
static const char *closing(const char *at) {
    int depth = 0;
    for (;; at++) {
        depth += (*at == '(') - (*at == ')');
        if (depth == 0) return at;
    }
}

static void start_with_vfork(void) {
    if (vfork() == 0) _exit(5);
}

static void run(const char *at, const char *end, struct place *place);

static void leave(struct place *place) {
    for (int n = 0; n < place->count; n++) pthread_join(place->threads[n], 0);
}

struct thread {
    const char *at, *end;
    struct place place;
};

static void *in_thread(void *argument) {
    struct thread *thread = argument;
    run(thread->at, thread->end, &thread->place);
    leave(&thread->place);
    return 0;
}

static void child(const char *at, const char *end, int parent) {
    struct place place = {.parent = parent};
    run(at, end, &place);
    leave(&place);
    _exit(3);
}

static void send(struct place *place, char to, int number) {
    if (to == 'm') kill(getpid(), number);
    if (to == 'g' && number != SIGKILL && number != SIGTERM && number != SIGSTOP) kill(0, number);
    if (to == 'p' && place->parent >= 0)
        syscall(SYS_pidfd_send_signal, place->parent, number, 0, 0);
    if (to == 'c' && place->last > 0) kill(place->last, number);
}

static int number_of(char letter) {
    switch (letter) {
    case 'U': return SIGUSR1;
    case 'I': return SIGUSR2;
    case 'T': return SIGTERM;
    case 'K': return SIGKILL;
    case 'S': return SIGSTOP;
    }
    return 0;
}

/* Be the tracer of a child until it ends. */
static void trace(pid_t pid) {
    int status;
    for (;;) {
        pid_t found = waitpid(pid, &status, 0);
        if (found < 0 && errno == EINTR) continue;
        if (found < 0 || !WIFSTOPPED(status)) return;
        int number = WSTOPSIG(status);
        if (number == SIGTRAP || number == (SIGTRAP | 0x80)) number = 0;
        ptrace(PTRACE_SYSCALL, pid, 0, (void *)(long)(number == SIGSTOP ? 0 : number));
    }
}

static void run(const char *at, const char *end, struct place *place) {
    for (; at < end; at++) {
        const char *close = at[1] == '(' ? closing(at + 1) : at;
        const char *inner = at + 2;
        pid_t pid;
        siginfo_t info;
        switch (*at) {
        case 'f':
        case 'd':
        case 'r': {
            int self = syscall(SYS_pidfd_open, getpid(), 0);
            pid = fork();
            if (pid == 0) {
                if (*at == 'd') {
                    setsid();
                    if (fork() > 0) _exit(4);
                }
                if (*at == 'r' && ptrace(PTRACE_TRACEME, 0, 0, 0) == 0) raise(SIGSTOP);
                child(inner, close, self);
            }
            close_range(self, self, 0);
            if (pid > 0 && *at == 'r') trace(pid);
            place->last = pid > 0 && *at == 'f' ? pid : 0;
            break;
        }
        case 't': {
            if (place->count == 8) break;
            static struct thread threads[64];
            static int used;
            int mine = __atomic_fetch_add(&used, 1, __ATOMIC_SEQ_CST);
            if (mine >= 64) break;
            threads[mine] = (struct thread){inner, close, {.parent = place->parent}};
            if (pthread_create(&place->threads[place->count], 0, in_thread, &threads[mine]) == 0)
                place->count++;
            break;
        }
        case 'v': start_with_vfork(); break;
        case 'p': {
            char *argv[] = {"true", 0};
            posix_spawnp(&pid, "true", 0, 0, argv, environ);
            break;
        }
        case 'w':
            while (waitpid(-1, 0, __WNOTHREAD) > 0 || errno == EINTR) errno = 0;
            place->last = 0;
            break;
        case 'n':
            if (waitpid(-1, 0, WNOHANG | __WNOTHREAD) == place->last) place->last = 0;
            break;
        case 'i':
            while (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | __WNOTHREAD) < 0 && errno == EINTR)
                continue;
            break;
        case 'k':
            send(place, at[1], number_of(at[2]));
            if (at[2] == 'S') send(place, at[1], SIGCONT);
            close = at + 2;
            break;
        case 'a':
        case 'A': {
            struct itimerval every = {{0, *at == 'a' ? 500 : 0}, {0, *at == 'a' ? 500 : 0}};
            setitimer(ITIMER_REAL, &every, 0);
            break;
        }
        case 'x': _exit(6);
        }
        at = close;
    }
}

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
    struct place place = {.parent = -1};
    const char *word = argc > 1 ? argv[1] : "";
    sigaction(SIGALRM, &action, 0);
    sigaction(SIGUSR1, &action, 0);
    signal(SIGUSR2, SIG_IGN);
    run(word, word + strlen(word), &place);
    leave(&place);
    return 0;
}
