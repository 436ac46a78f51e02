/* Paho C against a broker: `paho_client HOST PORT`. Each check compares what arrived with what was sent.
 * The last line is `N passed, M failed`. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "MQTTClient.h"

#define PATIENCE_MS 20000
#define SILENCE_MS 300

static char uri[128];
static int passed, failed;
static const char *check_name;
static int check_version;

#define REQUIRE(condition)                                                                      \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            printf("FAILED: %s of version %d, line %d: %s\n", check_name, check_version,        \
                   __LINE__, #condition);                                                       \
            return 0;                                                                           \
        }                                                                                       \
    } while (0)

typedef struct {
    const char *topic;
    const char *payload;
    int qos;
} Will;

static MQTTClient open_client(const char *name, int version, int clean, const Will *will) {
    MQTTClient client;
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    create.MQTTVersion = version;
    if (MQTTClient_createWithOptions(&client, uri, name, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create))
        return NULL;
    MQTTClient_connectOptions plain = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions five = MQTTClient_connectOptions_initializer5;
    MQTTClient_connectOptions options = version == MQTTVERSION_5 ? five : plain;
    MQTTClient_willOptions last = MQTTClient_willOptions_initializer;
    if (will) {
        last.topicName = will->topic;
        last.message = will->payload;
        last.qos = will->qos;
        options.will = &last;
    }
    options.MQTTVersion = version;
    options.keepAliveInterval = 30;
    int code;
    if (version == MQTTVERSION_5) {
        MQTTProperties properties = MQTTProperties_initializer;
        MQTTProperty expiry;
        expiry.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL;
        expiry.value.integer4 = clean ? 0 : 60;
        MQTTProperties_add(&properties, &expiry);
        options.cleanstart = clean;
        MQTTResponse response = MQTTClient_connect5(client, &options, &properties, NULL);
        code = response.reasonCode;
        MQTTResponse_free(response);
        MQTTProperties_free(&properties);
    } else {
        options.cleansession = clean;
        code = MQTTClient_connect(client, &options);
    }
    if (code != 0) {
        printf("connect of %s: %d\n", name, code);
        return NULL;
    }
    return client;
}

static int subscribe(MQTTClient client, int version, const char *filter, int qos) {
    if (version != MQTTVERSION_5)
        return MQTTClient_subscribe(client, filter, qos);
    MQTTResponse response = MQTTClient_subscribe5(client, filter, qos, NULL, NULL);
    int code = response.reasonCode;
    MQTTResponse_free(response);
    return code == qos ? 0 : code;
}

static int publish(MQTTClient client, int version, const char *topic, const void *payload, int len,
                   int qos, int retained, MQTTProperties *properties) {
    MQTTClient_message message = MQTTClient_message_initializer;
    message.payload = (void *)payload;
    message.payloadlen = len;
    message.qos = qos;
    message.retained = retained;
    MQTTClient_deliveryToken token;
    if (version == MQTTVERSION_5) {
        if (properties)
            message.properties = *properties;
        MQTTResponse response = MQTTClient_publishMessage5(client, topic, &message, &token);
        int code = response.reasonCode;
        MQTTResponse_free(response);
        if (code < 0 || code >= 0x80)
            return code;
    } else if (MQTTClient_publishMessage(client, topic, &message, &token)) {
        return -1;
    }
    return qos ? MQTTClient_waitForCompletion(client, token, PATIENCE_MS) : 0;
}

/* The next message, or NULL if none comes in time. */
static MQTTClient_message *take(MQTTClient client, int patience_ms) {
    char *topic = NULL;
    int len;
    MQTTClient_message *message = NULL;
    int code = MQTTClient_receive(client, &topic, &len, &message, patience_ms);
    if (topic)
        MQTTClient_free(topic);
    return code == MQTTCLIENT_SUCCESS || code == MQTTCLIENT_TOPICNAME_TRUNCATED ? message : NULL;
}

static int next_is(MQTTClient client, const char *payload, int qos, int retained) {
    MQTTClient_message *message = take(client, PATIENCE_MS);
    if (!message)
        return 0;
    int same = message->payloadlen == (int)strlen(payload) &&
               !memcmp(message->payload, payload, strlen(payload)) && message->qos == qos &&
               message->retained == retained;
    if (!same)
        printf("got %.*s, QoS %d, retained %d instead of %s\n", message->payloadlen,
               (char *)message->payload, message->qos, message->retained, payload);
    MQTTClient_freeMessage(&message);
    return same;
}

static void leave(MQTTClient client) {
    MQTTClient_disconnect(client, 1000);
    MQTTClient_destroy(&client);
}

static int all_qos(int version) {
    MQTTClient to = open_client("c-to", version, 1, NULL);
    MQTTClient from = open_client("c-from", version, 1, NULL);
    REQUIRE(to && from);
    for (int qos = 0; qos < 3; qos++) {
        char filter[32], topic[32], text[32];
        snprintf(filter, sizeof filter, "c/%d/+", qos);
        snprintf(topic, sizeof topic, "c/%d/x", qos);
        REQUIRE(subscribe(to, version, filter, qos) == 0);
        for (int number = 0; number < 30; number++) {
            int len = snprintf(text, sizeof text, "%d-%d", qos, number);
            REQUIRE(publish(from, version, topic, text, len, qos, 0, NULL) == 0);
        }
        for (int number = 0; number < 30; number++) {
            snprintf(text, sizeof text, "%d-%d", qos, number);
            REQUIRE(next_is(to, text, qos, 0));
        }
    }
    REQUIRE(!take(to, SILENCE_MS));
    leave(to);
    leave(from);
    return 1;
}

static int retained(int version) {
    MQTTClient from = open_client("c-from", version, 1, NULL);
    REQUIRE(from);
    REQUIRE(publish(from, version, "c-retained", "kept", 4, 1, 1, NULL) == 0);
    MQTTClient to = open_client("c-to", version, 1, NULL);
    REQUIRE(to && subscribe(to, version, "c-retained", 1) == 0);
    REQUIRE(next_is(to, "kept", 1, 1));
    REQUIRE(publish(from, version, "c-retained", "", 0, 1, 1, NULL) == 0);
    MQTTClient late = open_client("c-late", version, 1, NULL);
    REQUIRE(late && subscribe(late, version, "c-retained", 1) == 0);
    REQUIRE(!take(late, SILENCE_MS));
    leave(to);
    leave(from);
    leave(late);
    return 1;
}

static int wills(int version) {
    Will polite = {"c-wills", "polite", 1}, rude = {"c-wills", "rude", 1};
    MQTTClient heir = open_client("c-heir", version, 1, NULL);
    REQUIRE(heir && subscribe(heir, version, "c-wills", 1) == 0);
    MQTTClient first = open_client("c-polite", version, 1, &polite);
    REQUIRE(first);
    leave(first);
    /* A process that ends says no DISCONNECT. */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(open_client("c-rude", version, 1, &rude) == NULL);
    int status = -1;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    REQUIRE(next_is(heir, "rude", 1, 0));
    REQUIRE(!take(heir, SILENCE_MS));
    leave(heir);
    return 1;
}

static int sessions(int version) {
    MQTTClient from = open_client("c-from", version, 1, NULL);
    MQTTClient to = open_client("c-sleeper", version, 0, NULL);
    REQUIRE(from && to && subscribe(to, version, "c-sessions", 2) == 0);
    leave(to);
    char text[32];
    for (int number = 0; number < 30; number++) {
        int len = snprintf(text, sizeof text, "away-%d", number);
        REQUIRE(publish(from, version, "c-sessions", text, len, 2, 0, NULL) == 0);
    }
    to = open_client("c-sleeper", version, 0, NULL);
    REQUIRE(to);
    for (int number = 0; number < 30; number++) {
        snprintf(text, sizeof text, "away-%d", number);
        REQUIRE(next_is(to, text, 2, 0));
    }
    REQUIRE(!take(to, SILENCE_MS));
    leave(to);
    /* A clean connection ends the session. */
    to = open_client("c-sleeper", version, 1, NULL);
    REQUIRE(to);
    leave(to);
    leave(from);
    return 1;
}

static int properties(int version) {
    MQTTClient to = open_client("c-to", version, 1, NULL);
    MQTTClient from = open_client("c-from", version, 1, NULL);
    REQUIRE(to && from && subscribe(to, version, "c-properties", 1) == 0);
    MQTTProperties sent = MQTTProperties_initializer;
    MQTTProperty user;
    user.identifier = MQTTPROPERTY_CODE_USER_PROPERTY;
    user.value.data = (MQTTLenString){1, "a"};
    user.value.value = (MQTTLenString){1, "1"};
    MQTTProperty content;
    content.identifier = MQTTPROPERTY_CODE_CONTENT_TYPE;
    content.value.data = (MQTTLenString){10, "text/plain"};
    MQTTProperties_add(&sent, &user);
    MQTTProperties_add(&sent, &content);
    REQUIRE(publish(from, version, "c-properties", "x", 1, 1, 0, &sent) == 0);
    MQTTProperties_free(&sent);
    MQTTClient_message *message = take(to, PATIENCE_MS);
    REQUIRE(message);
    MQTTProperty *got = MQTTProperties_getProperty(&message->properties,
                                                   MQTTPROPERTY_CODE_USER_PROPERTY);
    REQUIRE(got && !memcmp(got->value.data.data, "a", 1) && !memcmp(got->value.value.data, "1", 1));
    got = MQTTProperties_getProperty(&message->properties, MQTTPROPERTY_CODE_CONTENT_TYPE);
    REQUIRE(got && got->value.data.len == 10 && !memcmp(got->value.data.data, "text/plain", 10));
    MQTTClient_freeMessage(&message);
    leave(to);
    leave(from);
    return 1;
}

static void check(const char *name, int (*function)(int), int version) {
    check_name = name;
    check_version = version;
    if (function(version))
        passed++;
    else
        failed++;
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    snprintf(uri, sizeof uri, "tcp://%s:%s", argv[1], argv[2]);
    const int versions[] = {MQTTVERSION_3_1, MQTTVERSION_3_1_1, MQTTVERSION_5};
    for (int at = 0; at < 3; at++) {
        check("all_qos", all_qos, versions[at]);
        check("retained", retained, versions[at]);
        check("wills", wills, versions[at]);
        check("sessions", sessions, versions[at]);
    }
    check("properties", properties, MQTTVERSION_5);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
