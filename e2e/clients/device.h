/* What the test clients share: their options, the TCP connection, and one exchange.
 *
 * The exchange is what a device does first: CONNECT, SUBSCRIBE to one topic, take one retained message (MQTT 3.1.1); or
 * with --get, one HTTP GET of a page that tells its length.
 * Everything that is seen is printed as `word value` lines, which the Python tests read. */
#ifndef SAFEPORT_E2E_DEVICE_H
#define SAFEPORT_E2E_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_PROTOCOLS = 4 };

struct options {
	const char *host;            /* numeric address to dial */
	int port;
	const char *source;          /* numeric address to dial from, or NULL */
	const char *name;            /* MqttHost: sent as SNI and compared with the certificate */
	bool sni;                    /* --no-sni: neither sent nor compared */
	const char *ca;              /* PEM file of trust anchors */
	const char *fingerprint;     /* 40 hex digits: pin the key instead */
	long long time;              /* seconds since 1970 that the device believes; -1 = the real time */
	bool ecdsa;                  /* SetOption165: offer c02b too */
	int in, out;                 /* payload bytes of the receive and of the send buffer */
	bool fragments;              /* BearSSL only: --no-fragments does not tell the server of small buffers */
	int max_fragment;            /* mbedTLS only: 512..4096, 0 = do not ask */
	bool tickets;                /* mbedTLS only: --no-tickets leaves the extension out */
	const char *protocols[MOST_PROTOCOLS + 1];
	int protocol_count;
	int rounds;                  /* --again: a second connection that resumes the first */
	const char *id, *user, *password, *topic;
	const char *get;             /* path to GET in place of MQTT */
	int timeout;                 /* milliseconds without a byte until the device gives up */
};

/* Parses the command line; an unknown word ends the program with 64. */
struct options options_from(int argc, char **argv);

/* A connected socket, or -1. */
int dial(const struct options *options);

/* Waits until `fd` can be read (or written): 1, or 0 when the time is over. */
int wait_for(int fd, bool readable, int milliseconds);

struct exchange {
	const struct options *options;
	unsigned char out[1024];     /* bytes to send, which the engine takes from the front */
	size_t out_length;
	unsigned char head[2048];    /* start of the packet or answer that is being read, without its payload */
	size_t head_length;
	size_t payload_left, payload_received;
	uint32_t crc;
	bool in_payload;
	int connack;                 /* code of the CONNACK or status of the answer, -1 before */
	bool received, done, broken;
};

void exchange_begin(struct exchange *exchange, const struct options *options);
/* The engine has sent `count` bytes of `out`. */
void exchange_sent(struct exchange *exchange, size_t count);
/* Bytes from the server. Sets `done` when all has come, `broken` when it was no MQTT or a refusal. */
void exchange_feed(struct exchange *exchange, const unsigned char *bytes, size_t count);
/* Prints what was received. */
void exchange_report(const struct exchange *exchange);

#endif
