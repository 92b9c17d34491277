/* BearSSL set up as Tasmota and ESPEasy set it up: TLS 1.2, one suite, P-256, SHA-256, small buffers.
 *
 * Prints `error N` with the number that the device's console shows: BearSSL's own, 256+alert, 0 for a connection
 * that ended in the handshake, 1 for another fingerprint, -1002 for no TCP connection, -1005 for a handshake that
 * took too long. */
#include "device.h"

#include <bearssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_OVERHEAD = 325, OUT_OVERHEAD = 85, FINGERPRINT_DIFFERS = 1, NOT_CONNECTED = -1002, TOO_SLOW = -1005,
       MOST_RSA_BYTES = 256, MOST_ANCHORS = 8 };

/* ------------------------------------------------------------- fingerprint */

/* Takes the key out of the first certificate, believes nothing else, and compares the key's digest. */
struct pin {
	const br_x509_class *vtable;
	unsigned char wanted[20];
	br_x509_decoder_context decoder;
	bool in_leaf, has_leaf;
};

static void pin_start_chain(const br_x509_class **ctx, const char *server_name)
{
	struct pin *pin = (struct pin *)(void *)ctx;
	(void)server_name;
	pin->in_leaf = pin->has_leaf = false;
}

static void pin_start_cert(const br_x509_class **ctx, uint32_t length)
{
	struct pin *pin = (struct pin *)(void *)ctx;
	(void)length;
	if (!pin->has_leaf) {
		br_x509_decoder_init(&pin->decoder, NULL, NULL);
		pin->in_leaf = true;
	}
}

static void pin_append(const br_x509_class **ctx, const unsigned char *bytes, size_t count)
{
	struct pin *pin = (struct pin *)(void *)ctx;
	if (pin->in_leaf)
		br_x509_decoder_push(&pin->decoder, bytes, count);
}

static void pin_end_cert(const br_x509_class **ctx)
{
	struct pin *pin = (struct pin *)(void *)ctx;
	pin->has_leaf = true;
	pin->in_leaf = false;
}

static void hash_with_length(br_sha1_context *sha, const unsigned char *bytes, size_t count)
{
	unsigned char length[4] = {(unsigned char)(count >> 24), (unsigned char)(count >> 16), (unsigned char)(count >> 8),
				   (unsigned char)count};
	br_sha1_update(sha, length, sizeof length);
	br_sha1_update(sha, bytes, count);
}

static unsigned pin_end_chain(const br_x509_class **ctx)
{
	struct pin *pin = (struct pin *)(void *)ctx;
	const br_x509_pkey *key = pin->has_leaf ? br_x509_decoder_get_pkey(&pin->decoder) : NULL;
	if (!key)
		return pin->has_leaf ? (unsigned)br_x509_decoder_last_error(&pin->decoder) : BR_ERR_X509_EMPTY_CHAIN;
	if (key->key_type != BR_KEYTYPE_RSA)
		return FINGERPRINT_DIFFERS;
	unsigned char digest[20];
	br_sha1_context sha;
	br_sha1_init(&sha);
	hash_with_length(&sha, (const unsigned char *)"ssh-rsa", 7);
	hash_with_length(&sha, key->key.rsa.e, key->key.rsa.elen);
	hash_with_length(&sha, key->key.rsa.n, key->key.rsa.nlen);
	br_sha1_out(&sha, digest);
	return memcmp(digest, pin->wanted, sizeof digest) == 0 ? 0 : FINGERPRINT_DIFFERS;
}

static const br_x509_pkey *pin_get_pkey(const br_x509_class *const *ctx, unsigned *usages)
{
	const struct pin *pin = (const struct pin *)(const void *)ctx;
	if (usages)
		*usages = BR_KEYTYPE_KEYX | BR_KEYTYPE_SIGN;
	return br_x509_decoder_get_pkey((br_x509_decoder_context *)&pin->decoder);
}

static const br_x509_class pin_vtable = {
	sizeof(struct pin), pin_start_chain, pin_start_cert, pin_append, pin_end_cert, pin_end_chain, pin_get_pkey,
};

static bool pin_set(struct pin *pin, const char *hex)
{
	pin->vtable = &pin_vtable;
	for (int at = 0; at < 20; at++) {
		unsigned byte;
		while (*hex == ' ' || *hex == ':')
			hex++;
		if (sscanf(hex, "%2x", &byte) != 1)
			return false;
		pin->wanted[at] = (unsigned char)byte;
		hex += 2;
	}
	return *hex == 0;
}

/* ----------------------------------------------------------- trust anchors */

struct bytes {
	unsigned char *at;
	size_t length;
};

static void append(void *to, const void *bytes, size_t count)
{
	struct bytes *all = to;
	all->at = realloc(all->at, all->length + count);
	if (!all->at)
		abort();
	memcpy(all->at + all->length, bytes, count);
	all->length += count;
}

static unsigned char *copied(const unsigned char *bytes, size_t count)
{
	struct bytes copy = {0};
	append(&copy, bytes, count);
	return copy.at;
}

static bool anchor_from(br_x509_trust_anchor *anchor, const struct bytes *der)
{
	br_x509_decoder_context decoder;
	struct bytes name = {0};
	br_x509_decoder_init(&decoder, append, &name);
	br_x509_decoder_push(&decoder, der->at, der->length);
	const br_x509_pkey *key = br_x509_decoder_get_pkey(&decoder);
	if (!key)
		return false;
	anchor->dn.data = name.at;
	anchor->dn.len = name.length;
	anchor->flags = br_x509_decoder_isCA(&decoder) ? BR_X509_TA_CA : 0;
	anchor->pkey = *key;
	if (key->key_type == BR_KEYTYPE_RSA) {
		anchor->pkey.key.rsa.n = copied(key->key.rsa.n, key->key.rsa.nlen);
		anchor->pkey.key.rsa.e = copied(key->key.rsa.e, key->key.rsa.elen);
	} else {
		anchor->pkey.key.ec.q = copied(key->key.ec.q, key->key.ec.qlen);
	}
	return true;
}

static size_t anchors_from(const char *path, br_x509_trust_anchor *anchors)
{
	FILE *file = fopen(path, "rb");
	if (!file)
		return 0;
	struct bytes text = {0};
	unsigned char some[4096];
	for (size_t got; (got = fread(some, 1, sizeof some, file)) > 0;)
		append(&text, some, got);
	fclose(file);
	br_pem_decoder_context pem;
	br_pem_decoder_init(&pem);
	struct bytes der = {0};
	size_t count = 0;
	for (size_t at = 0; at < text.length;) {
		at += br_pem_decoder_push(&pem, text.at + at, text.length - at);
		switch (br_pem_decoder_event(&pem)) {
		case BR_PEM_BEGIN_OBJ:
			der.length = 0;
			br_pem_decoder_setdest(&pem, append, &der);
			break;
		case BR_PEM_END_OBJ:
			if (count < MOST_ANCHORS && anchor_from(&anchors[count], &der))
				count++;
			break;
		}
	}
	return count;
}

/* -------------------------------------------------------------- the engine */

static br_rsa_pkcs1_vrfy rsa_of_any_size;

/* The firmware's library is built for keys of 2048 bits: a larger one does not verify (error 27). */
static uint32_t rsa_of_2048(const unsigned char *x, size_t xlen, const unsigned char *oid, size_t hash,
			    const br_rsa_public_key *key, unsigned char *out)
{
	return key->nlen > MOST_RSA_BYTES ? 0 : rsa_of_any_size(x, xlen, oid, hash, key, out);
}

static void engine_set_up(br_ssl_client_context *client, const struct options *options)
{
	static const uint16_t rsa_only[] = {BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256};
	static const uint16_t with_ecdsa[] = {BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256};
	br_ssl_engine_context *engine = &client->eng;
	br_ssl_client_zero(client);
	br_ssl_engine_add_flags(engine, BR_OPT_NO_RENEGOTIATION);
	br_ssl_engine_set_versions(engine, BR_TLS12, BR_TLS12);
	if (options->ecdsa) {
		br_ssl_engine_set_suites(engine, with_ecdsa, 2);
		br_ssl_engine_set_ecdsa(engine, br_ecdsa_i31_vrfy_asn1);
	} else {
		br_ssl_engine_set_suites(engine, rsa_only, 1);
	}
	rsa_of_any_size = br_rsa_pkcs1_vrfy_get_default();
	br_ssl_engine_set_rsavrfy(engine, rsa_of_2048);
	br_ssl_client_set_default_rsapub(client);
	br_ssl_engine_set_hash(engine, br_sha256_ID, &br_sha256_vtable);
	br_ssl_engine_set_prf_sha256(engine, br_tls12_sha256_prf);
	br_ssl_engine_set_ec(engine, &br_ec_p256_m31);
	br_ssl_engine_set_aes_ctr(engine, &br_aes_small_ctr_vtable);
	br_ssl_engine_set_ghash(engine, br_ghash_ctmul32);
	br_ssl_engine_set_gcm(engine, &br_sslrec_in_gcm_vtable, &br_sslrec_out_gcm_vtable);
	if (options->protocol_count)
		br_ssl_engine_set_protocol_names(engine, (const char **)options->protocols, (size_t)options->protocol_count);
}

static void check_by_ca(br_x509_minimal_context *x509, const struct options *options)
{
	static br_x509_trust_anchor anchors[MOST_ANCHORS];
	size_t count = options->ca ? anchors_from(options->ca, anchors) : 0;
	if (count == 0) {
		fprintf(stderr, "no certificate in %s\n", options->ca ? options->ca : "(no --ca given)");
		exit(64);
	}
	br_x509_minimal_init(x509, &br_sha256_vtable, anchors, count);
	br_x509_minimal_set_rsa(x509, rsa_of_2048);
	if (options->ecdsa)
		br_x509_minimal_set_ecdsa(x509, &br_ec_p256_m31, br_ecdsa_i31_vrfy_asn1);
	br_x509_minimal_set_hash(x509, br_sha256_ID, &br_sha256_vtable);
	long long now = options->time >= 0 ? options->time : (long long)time(NULL);
	br_x509_minimal_set_time(x509, (uint32_t)(now / 86400 + 719528), (uint32_t)(now % 86400));
}

/* Carries the exchange over the engine until it is done: the error that the device would print. */
static int converse(br_ssl_engine_context *engine, int fd, struct exchange *exchange)
{
	bool handshaken = false;
	for (;;) {
		unsigned state = br_ssl_engine_current_state(engine);
		size_t length;
		unsigned char *bytes;
		if (state & BR_SSL_CLOSED)
			return br_ssl_engine_last_error(engine);
		if (state & BR_SSL_SENDREC) {
			bytes = br_ssl_engine_sendrec_buf(engine, &length);
			ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
			if (sent <= 0)
				return handshaken ? BR_ERR_IO : 0;
			br_ssl_engine_sendrec_ack(engine, (size_t)sent);
			continue;
		}
		if (state & (BR_SSL_SENDAPP | BR_SSL_RECVAPP))
			handshaken = true;
		if (state & BR_SSL_RECVAPP) {
			bytes = br_ssl_engine_recvapp_buf(engine, &length);
			exchange_feed(exchange, bytes, length);
			br_ssl_engine_recvapp_ack(engine, length);
			continue;
		}
		if (exchange->broken)
			return 0;
		if ((state & BR_SSL_SENDAPP) && exchange->out_length) {
			bytes = br_ssl_engine_sendapp_buf(engine, &length);
			if (length > exchange->out_length)
				length = exchange->out_length;
			memcpy(bytes, exchange->out, length);
			exchange_sent(exchange, length);
			br_ssl_engine_sendapp_ack(engine, length);
			br_ssl_engine_flush(engine, 0);
			continue;
		}
		if (exchange->done)
			return 0;
		if (!wait_for(fd, true, exchange->options->timeout))
			return handshaken ? BR_ERR_IO : TOO_SLOW;
		bytes = br_ssl_engine_recvrec_buf(engine, &length);
		ssize_t got = recv(fd, bytes, length, 0);
		if (got <= 0)
			return handshaken ? BR_ERR_IO : 0;
		br_ssl_engine_recvrec_ack(engine, (size_t)got);
	}
}

int main(int argc, char **argv)
{
	struct options options = options_from(argc, argv);
	static br_ssl_client_context client;
	static br_x509_minimal_context x509;
	static struct pin pin;
	engine_set_up(&client, &options);
	if (options.fingerprint) {
		if (!pin_set(&pin, options.fingerprint)) {
			fprintf(stderr, "--fingerprint needs 20 bytes in hex\n");
			return 64;
		}
		br_ssl_engine_set_x509(&client.eng, &pin.vtable);
	} else {
		check_by_ca(&x509, &options);
		br_ssl_engine_set_x509(&client.eng, &x509.vtable);
	}
	size_t in = (size_t)options.in + IN_OVERHEAD, out = (size_t)options.out + OUT_OVERHEAD;
	br_ssl_engine_set_buffers_bidi(&client.eng, malloc(in), in, malloc(out), out);

	/* BearSSL asks for short records unless its buffers hold the largest. */
	if (!options.fragments)
		client.eng.log_max_frag_len = 14;

	int error = 0;
	struct exchange exchange = {0};
	br_ssl_session_parameters first = {0};
	for (int round = 0; round < options.rounds && error == 0; round++) {
		exchange_begin(&exchange, &options);
		if (!br_ssl_client_reset(&client, options.sni ? options.name : NULL, round > 0)) {
			error = br_ssl_engine_last_error(&client.eng);
			break;
		}
		int fd = dial(&options);
		if (fd < 0) {
			error = NOT_CONNECTED;
			break;
		}
		error = converse(&client.eng, fd, &exchange);
		close(fd);
		br_ssl_session_parameters now;
		br_ssl_engine_get_session_parameters(&client.eng, &now);
		printf("mfln %s\n", client.eng.peer_log_max_frag_len ? "negotiated" : "refused");
		if (error == 0 && exchange.connack >= 0) {
			const char *protocol = br_ssl_engine_get_selected_protocol(&client.eng);
			printf("version %04x\nsuite %04x\nalpn %s\n", now.version, now.cipher_suite, protocol ? protocol : "-");
			/* A session that is taken up again keeps its master secret. */
			printf("resumed %d\n", round > 0 && memcmp(first.master_secret, now.master_secret, sizeof now.master_secret) == 0);
		}
		exchange_report(&exchange);
		first = now;
	}
	printf("error %d\n", error);
	return error != 0 || !exchange.done;
}
