/* worker.c: the service "rot13", as RFC 7 (Majordomo, MDP/0.1) has its workers. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#define BROKER "tcp://127.0.0.1:5555"
#define SERVICE "rot13"
#define HEARTBEAT 2500           /* milliseconds, both ways */
#define PATIENCE (3 * HEARTBEAT) /* a broker that is silent for so long is gone */
#define PAUSE 1000               /* milliseconds before the next try */
#define MAX_FRAMES 64

enum { READY = 1, REQUEST, REPLY, HEARTBEATING, DISCONNECT };

static void *context;
static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static long long now(void) { /* milliseconds, of a clock that nobody sets */
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

static void fail(const char *what) {
    fprintf(stderr, "worker.c: %s: %s\n", what, zmq_strerror(errno));
    exit(1);
}

static void frame(void *socket, const void *data, size_t size, bool more) {
    int done;
    do
        done = zmq_send(socket, data, size, more ? ZMQ_SNDMORE : 0);
    while (done == -1 && errno == EINTR);
    if (done == -1)
        fail("zmq_send");
}

/* The frames that every message begins with: an empty one, the header, the command. */
static void begin(void *socket, unsigned char command, bool more) {
    frame(socket, "", 0, true);
    frame(socket, "MDPW01", 6, true);
    frame(socket, &command, 1, more);
}

static void *registered(void) { /* on a new socket, each time */
    void *socket = zmq_socket(context, ZMQ_DEALER);
    if (!socket || zmq_connect(socket, BROKER))
        fail(BROKER);
    begin(socket, READY, true);
    frame(socket, SERVICE, strlen(SERVICE), false);
    printf("ready\n");
    return socket;
}

/* Read one message; the number of its frames, at most MAX_FRAMES of which are kept. */
static int receive(void *socket, zmq_msg_t frames[]) {
    int count = 0, more = 1;
    while (more) {
        zmq_msg_t spare, *into = count < MAX_FRAMES ? &frames[count] : &spare;
        int done;
        zmq_msg_init(into);
        do
            done = zmq_msg_recv(into, socket, 0);
        while (done == -1 && errno == EINTR);
        if (done == -1)
            fail("zmq_msg_recv");
        more = zmq_msg_more(into);
        if (into == &spare)
            zmq_msg_close(&spare);
        count++;
    }
    return count;
}

static bool is(zmq_msg_t *frame, const char *data, size_t size) {
    return zmq_msg_size(frame) == size && memcmp(zmq_msg_data(frame), data, size) == 0;
}

static void rot13(char *text, size_t size) { /* in place; any other byte stays what it is */
    for (size_t i = 0; i < size; i++) {
        char low = text[i] | 0x20;
        if (low >= 'a' && low <= 'z')
            text[i] += low <= 'm' ? 13 : -13;
    }
}

/* Address and body are frames of bytes: with their sizes, not to their first zero byte. */
static void answer(void *socket, zmq_msg_t frames[], int count) {
    begin(socket, REPLY, true);
    frame(socket, zmq_msg_data(&frames[3]), zmq_msg_size(&frames[3]), true);
    frame(socket, "", 0, true);
    for (int i = 5; i < count; i++) {
        rot13(zmq_msg_data(&frames[i]), zmq_msg_size(&frames[i]));
        frame(socket, zmq_msg_data(&frames[i]), zmq_msg_size(&frames[i]), i + 1 < count);
    }
    printf("answered a request of %d frames\n", count - 5);
}

/* One message of the broker's; false if it was DISCONNECT. */
static bool take(void *socket, long long *heard) {
    zmq_msg_t frames[MAX_FRAMES];
    int count = receive(socket, frames), kept = count < MAX_FRAMES ? count : MAX_FRAMES;
    int command = 0;
    if (count >= 3 && count == kept && is(&frames[0], "", 0) && is(&frames[1], "MDPW01", 6) &&
        zmq_msg_size(&frames[2]) == 1)
        command = *(unsigned char *)zmq_msg_data(&frames[2]);
    if (command == REQUEST && count >= 6 && is(&frames[4], "", 0))
        answer(socket, frames, count);
    else if (command != HEARTBEATING && command != DISCONNECT)
        fprintf(stderr, "worker.c: a message of %d frames is not understood\n", count);
    if (command == REQUEST || command == HEARTBEATING)
        *heard = now(); /* a sign of life */
    for (int i = 0; i < kept; i++)
        zmq_msg_close(&frames[i]);
    return command != DISCONNECT;
}

/* Serve on one socket until it is no use any more; why. */
static const char *serve(void *socket) {
    long long heard = now(), beat = heard + HEARTBEAT;
    while (!stopping) {
        zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};
        long long wait = beat - now();
        int ready = zmq_poll(&item, 1, wait > 0 ? wait : 0);
        if (ready == -1 && errno != EINTR)
            fail("zmq_poll");
        if (ready == 1 && !take(socket, &heard))
            return "the broker said DISCONNECT";
        if (ready == 0 && now() - heard > PATIENCE)
            return "the broker is silent";
        if (now() >= beat) {
            begin(socket, HEARTBEATING, false);
            beat = now() + HEARTBEAT;
        }
    }
    begin(socket, DISCONNECT, false);
    return "stopped";
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    context = zmq_ctx_new();
    while (!stopping) {
        void *socket = registered();
        printf("%s\n", serve(socket));
        int linger = stopping ? 1000 : 0; /* what could not be sent is kept at the end only */
        zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
        zmq_close(socket);
        if (!stopping)
            zmq_poll(NULL, 0, PAUSE);
    }
    zmq_ctx_term(context);
    return 0;
}
