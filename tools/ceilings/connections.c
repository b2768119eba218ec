/* Kernel sockets for the figure of connections: connect, request, response, close, so many at once.
 *
 *     connections client ADDRESS PORT AT_ONCE WARM SECONDS    prints how many there were, and the seconds that they took
 *     connections server ADDRESS PORT                         prints a line when it listens, and serves for ever
 *
 * In C because a client in Python would be what is measured: two kernels make 20,000 connections a second.
 * The client closes first, when it has the response.
 */
#define _GNU_SOURCE /* accept4 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 100, RESPONSE = 100, EVENTS = 64 };

static struct sockaddr_in peer = {.sin_family = AF_INET};
static int poller;
static char bytes[REQUEST + RESPONSE];

static void check(int status, const char *what)
{
    if (status < 0) {
        perror(what);
        exit(1);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void watch(int operation, int fd, unsigned events)
{
    check(epoll_ctl(poller, operation, fd, &(struct epoll_event){.events = events, .data.fd = fd}), "epoll_ctl");
}

static void begin(void)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    check(fd, "socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0 && errno != EINPROGRESS)
        check(-1, "connect");
    watch(EPOLL_CTL_ADD, fd, EPOLLOUT);
}

static void client(int at_once, double warm, double seconds)
{
    struct epoll_event events[EVENTS];
    double begun = now() + warm, end = begun + seconds, time;
    long count = 0;
    for (int i = 0; i < at_once; i++)
        begin();
    while ((time = now()) < end || !count) {
        int found = epoll_wait(poller, events, EVENTS, 1000);
        for (int i = 0; i < found; i++) {
            int fd = events[i].data.fd;
            if (events[i].events & EPOLLOUT) {
                check(send(fd, bytes, REQUEST, MSG_NOSIGNAL), "send");
                watch(EPOLL_CTL_MOD, fd, EPOLLIN);
            } else {
                ssize_t size = recv(fd, bytes, RESPONSE, 0);
                check(size == RESPONSE ? 0 : -1, "response");
                close(fd);
                count += time >= begun;
                begin();
            }
        }
    }
    printf("%ld %.6f\n", count, now() - begun);
}

static void server(void)
{
    struct epoll_event events[EVENTS];
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    check(bind(listener, (struct sockaddr *)&peer, sizeof peer), "bind");
    check(listen(listener, 4096), "listen");
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    puts("listening");
    fflush(stdout);
    for (;;) {
        int found = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < found; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
                    watch(EPOLL_CTL_ADD, fd, EPOLLIN);
            } else if (recv(fd, bytes, REQUEST, 0) > 0) {
                send(fd, bytes, RESPONSE, MSG_NOSIGNAL);
            } else {
                close(fd);
            }
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 4 || inet_pton(AF_INET, argv[2], &peer.sin_addr) != 1) {
        fprintf(stderr, "usage: connections client ADDRESS PORT AT_ONCE WARM SECONDS | server ADDRESS PORT\n");
        return 2;
    }
    peer.sin_port = htons(atoi(argv[3]));
    poller = epoll_create1(0);
    if (!strcmp(argv[1], "client") && argc == 7)
        client(atoi(argv[4]), atof(argv[5]), atof(argv[6]));
    else
        server();
    return 0;
}
