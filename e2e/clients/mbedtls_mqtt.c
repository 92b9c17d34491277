/* mbedTLS as ESP-IDF devices use it: the library's defaults, verification required.
 *
 * Prints `error -0x....` with the number that esp-tls logs, and `flags 0x..` with the verification flags. */
#include "device.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int failed(int code)
{
	printf("error %s0x%04x\n", code < 0 ? "-" : "", (unsigned)(code < 0 ? -code : code));
	return 1;
}

static int converse(mbedtls_ssl_context *ssl, struct exchange *exchange)
{
	int code;
	while (!exchange->done || exchange->out_length) {
		if (exchange->out_length) {
			code = mbedtls_ssl_write(ssl, exchange->out, exchange->out_length);
			if (code <= 0)
				return code;
			exchange_sent(exchange, (size_t)code);
			continue;
		}
		unsigned char bytes[4096];
		code = mbedtls_ssl_read(ssl, bytes, sizeof bytes);
		if (code == 0)
			return MBEDTLS_ERR_SSL_CONN_EOF;
		if (code < 0)
			return code;
		exchange_feed(exchange, bytes, (size_t)code);
		if (exchange->broken)
			return 0;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options options = options_from(argc, argv);
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	mbedtls_x509_crt roots;
	mbedtls_ssl_config config;
	mbedtls_ssl_session session;
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random);
	mbedtls_x509_crt_init(&roots);
	mbedtls_ssl_config_init(&config);
	mbedtls_ssl_session_init(&session);

	int code = mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0);
	if (code == 0 && options.ca)
		code = mbedtls_x509_crt_parse_file(&roots, options.ca);
	if (code == 0)
		code = mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
						   MBEDTLS_SSL_PRESET_DEFAULT);
	if (code != 0)
		return failed(code);
	mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_ca_chain(&config, &roots, NULL);
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
	mbedtls_ssl_conf_read_timeout(&config, (uint32_t)options.timeout);
	if (!options.tickets)
		mbedtls_ssl_conf_session_tickets(&config, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
	if (options.protocol_count && (code = mbedtls_ssl_conf_alpn_protocols(&config, options.protocols)) != 0)
		return failed(code);
	if (options.max_fragment) {
		unsigned char length = MBEDTLS_SSL_MAX_FRAG_LEN_512;
		for (int size = options.max_fragment; size > 512; size /= 2)
			length++;
		if ((code = mbedtls_ssl_conf_max_frag_len(&config, length)) != 0)
			return failed(code);
	}

	struct exchange exchange = {0};
	for (int round = 0; round < options.rounds && code == 0; round++) {
		mbedtls_ssl_context ssl;
		mbedtls_net_context net;
		mbedtls_ssl_init(&ssl);
		mbedtls_net_init(&net);
		exchange_begin(&exchange, &options);
		code = mbedtls_ssl_setup(&ssl, &config);
		if (code == 0 && options.sni)
			code = mbedtls_ssl_set_hostname(&ssl, options.name);
		if (code == 0 && round > 0)
			code = mbedtls_ssl_set_session(&ssl, &session);
		if (code == 0 && (net.fd = dial(&options)) < 0)
			code = MBEDTLS_ERR_NET_CONNECT_FAILED;
		if (code == 0) {
			mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, mbedtls_net_recv_timeout);
			unsigned char first[48];
			memcpy(first, session.master, sizeof first);
			code = mbedtls_ssl_handshake(&ssl);
			uint32_t flags = mbedtls_ssl_get_verify_result(&ssl);
			if (code != 0 && flags != (uint32_t)-1)
				printf("flags 0x%x\n", (unsigned)flags);
			if (code == 0) {
				mbedtls_ssl_session_free(&session);
				mbedtls_ssl_session_init(&session);
				code = mbedtls_ssl_get_session(&ssl, &session);
				const char *protocol = mbedtls_ssl_get_alpn_protocol(&ssl);
				printf("version %s\nsuite %s\nalpn %s\n", mbedtls_ssl_get_version(&ssl), mbedtls_ssl_get_ciphersuite(&ssl),
				       protocol ? protocol : "-");
				printf("resumed %d\n", round > 0 && memcmp(first, session.master, sizeof first) == 0);
			}
			if (code == 0)
				code = converse(&ssl, &exchange);
			exchange_report(&exchange);
		}
		if (net.fd >= 0)
			close(net.fd);
		mbedtls_ssl_free(&ssl);
	}
	if (code != 0)
		return failed(code);
	printf("error 0\n");
	return !exchange.done;
}
