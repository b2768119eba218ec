/* lwIP as a contender for `tools/bench peers`: one host on a TUN device, with lwIP's own (raw) API, as fast as it gets.
 *
 *     lwip ADDRESS SERVICE FD      SERVICE: sink, source, echo or respond, as in stack.observe.bench.ours
 *
 * Debian's library, with Debian's options: a window of 128 KiB, a send buffer of 64. Frames come in by the main thread,
 * which holds the core's lock meanwhile; timers are the library's thread's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lwip/ip.h"
#include "lwip/netif.h"
#include "lwip/tcp.h"
#include "lwip/tcpip.h"

enum { PORT = 5001, BATCH = 64, REQUEST = 100, RESPONSE = 100, BLOCK = 16384 };

static int device;
static const char *service;
static char bytes[BLOCK];

static err_t output(struct netif *netif, struct pbuf *p, const ip4_addr_t *to)
{
    static char frame[2048];
    const void *data = p->payload;
    if (p->next) {
        pbuf_copy_partial(p, frame, p->tot_len, 0);
        data = frame;
    }
    return write(device, data, p->tot_len) < 0 ? ERR_IF : ERR_OK;
}

static err_t set_up(struct netif *netif)
{
    netif->name[0] = 't';
    netif->name[1] = 'n';
    netif->mtu = 1500;
    netif->output = output;
    return ERR_OK;
}

static err_t fill(void *argument, struct tcp_pcb *pcb, u16_t acknowledged)
{
    u16_t room;
    while ((room = tcp_sndbuf(pcb)) && tcp_write(pcb, bytes, LWIP_MIN(room, BLOCK), 0) == ERR_OK)
        ;
    return tcp_output(pcb);
}

static err_t received(void *argument, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
    if (!p) {
        tcp_arg(pcb, NULL);
        return tcp_close(pcb);
    }
    tcp_recved(pcb, p->tot_len);
    if (!strcmp(service, "echo")) {
        for (struct pbuf *each = p; each; each = each->next)
            tcp_write(pcb, each->payload, each->len, TCP_WRITE_FLAG_COPY);
        tcp_output(pcb);
    } else if (!strcmp(service, "respond") && p->tot_len == REQUEST) {
        tcp_write(pcb, bytes, RESPONSE, 0);
        tcp_output(pcb);
    }
    pbuf_free(p);
    return ERR_OK;
}

static err_t accepted(void *argument, struct tcp_pcb *pcb, err_t error)
{
    if (error != ERR_OK || !pcb)
        return ERR_VAL;
    tcp_nagle_disable(pcb);
    tcp_recv(pcb, received);
    if (!strcmp(service, "source")) {
        tcp_sent(pcb, fill);
        fill(NULL, pcb, 0);
    }
    return ERR_OK;
}

static void started(void *semaphore)
{
    sem_post(semaphore);
}

static void serve(struct netif *netif, const char *address)
{
    ip4_addr_t ours, mask, gateway;
    ip4addr_aton(address, &ours);
    IP4_ADDR(&mask, 255, 255, 255, 0);
    IP4_ADDR(&gateway, 10, 98, 0, 1);
    netif_add(netif, &ours, &mask, &gateway, NULL, set_up, ip_input);
    netif_set_default(netif);
    netif_set_link_up(netif);
    netif_set_up(netif);
    struct tcp_pcb *pcb = tcp_new();
    tcp_bind(pcb, IP_ADDR_ANY, PORT);
    tcp_accept(tcp_listen_with_backlog(pcb, 255), accepted);
}

int main(int argc, char **argv)
{
    static struct netif netif;
    static char frame[2048];
    sem_t semaphore;
    if (argc != 4) {
        fprintf(stderr, "usage: lwip ADDRESS SERVICE FD\n");
        return 2;
    }
    service = argv[2];
    device = atoi(argv[3]);
    fcntl(device, F_SETFL, O_NONBLOCK);
    sem_init(&semaphore, 0, 0);
    tcpip_init(started, &semaphore);
    sem_wait(&semaphore);
    LOCK_TCPIP_CORE();
    serve(&netif, argv[1]);
    UNLOCK_TCPIP_CORE();
    for (;;) {
        poll(&(struct pollfd){.fd = device, .events = POLLIN}, 1, -1);
        LOCK_TCPIP_CORE();
        for (int i = 0; i < BATCH; i++) {
            ssize_t size = read(device, frame, sizeof frame);
            if (size < 0)
                break;
            struct pbuf *p = pbuf_alloc(PBUF_RAW, size, PBUF_RAM);
            if (!p)
                continue;
            pbuf_take(p, frame, size);
            if (netif.input(p, &netif) != ERR_OK)
                pbuf_free(p);
        }
        UNLOCK_TCPIP_CORE();
    }
}
