/* Starts a program by two forks, and leaves it no descriptor, variable or session of its own. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0) {
            for (int number = 0; number < 5000; number++)
                close(number);
            clearenv();
            execv(arguments[2], arguments + 2);
        }
        _exit(0);
    }
    waitpid(child, NULL, 0);
    puts("started");
    fflush(stdout);
    if (count > 1 && strcmp(arguments[1], "is_killed") == 0)
        pause();
    return 0;
}
