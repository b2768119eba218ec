/* A bare forwarder: whatever comes out of one TUN device goes into the other.
 *
 *     forward FD FD
 *
 * Two kernels joined by it are the ceiling for anything that stands where one of them is: no stack sees its packets with
 * less work in between. Descriptors that have a virtio-net header pass it on as it is, and super-frames with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BATCH = 64, FRAME = 1 << 17 };

static char frame[FRAME];

static void carry(int from, int to)
{
    for (int i = 0; i < BATCH; i++) {
        ssize_t size = read(from, frame, sizeof frame);
        if (size < 0 && errno == EAGAIN)
            return;
        if (size < 0) {
            perror("read");
            exit(1);
        }
        while (write(to, frame, size) < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = to, .events = POLLOUT}, 1, -1);
        /* What the other kernel refuses is lost, as networks lose packets. */
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: forward FD FD\n");
        return 2;
    }
    struct pollfd ends[2] = {{.fd = atoi(argv[1]), .events = POLLIN}, {.fd = atoi(argv[2]), .events = POLLIN}};
    for (int i = 0; i < 2; i++)
        fcntl(ends[i].fd, F_SETFL, O_NONBLOCK);
    while (poll(ends, 2, -1) > 0)
        for (int i = 0; i < 2; i++)
            if (ends[i].revents)
                carry(ends[i].fd, ends[!i].fd);
    perror("poll");
    return 1;
}
