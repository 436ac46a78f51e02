//! rumqttc's client of MQTT 5.

use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, LastWill, Packet, Publish, PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{Client, Connection, Event, MqttOptions};

use crate::broker::Broker;

const PATIENCE: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_millis(200);
const CORES: u32 = 4;

struct Peer {
    client: Client,
    connection: Connection,
    connack: Option<ConnAck>,
}

fn options(broker: &Broker, id: &str) -> MqttOptions {
    let address = broker.address();
    let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(30));
    options.set_max_packet_size(Some(2_000_000));
    options
}

impl Peer {
    fn connect(options: MqttOptions) -> Self {
        let (client, connection) = Client::new(options, 1000);
        let mut peer = Self {
            client,
            connection,
            connack: None,
        };
        peer.connack = peer.until("CONNACK", |packet| match packet {
            Packet::ConnAck(ack) => Some(Some(ack.clone())),
            _ => None,
        });
        peer
    }

    fn session_present(&self) -> bool {
        self.connack.as_ref().unwrap().session_present
    }

    /// Runs the connection until a packet came that `pick` takes.
    fn until<T>(&mut self, what: &str, pick: impl Fn(&Packet) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let Ok(event) = self.connection.recv_timeout(left) else {
                break;
            };
            match event.unwrap_or_else(|why| panic!("waiting for {what}: {why}")) {
                Event::Incoming(packet) => {
                    if let Some(picked) = pick(&packet) {
                        return picked;
                    }
                }
                Event::Outgoing(_) => {}
            }
        }
        panic!("no {what} in time");
    }

    fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.client.subscribe(filter, qos).unwrap();
        let granted = self.until("SUBACK", |packet| match packet {
            Packet::SubAck(ack) => Some(ack.return_codes.clone()),
            _ => None,
        });
        assert_eq!(granted, [SubscribeReasonCode::Success(qos)]);
    }

    /// Publishes with properties and waits for the acknowledgement.
    fn publish(
        &mut self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: &[u8],
        properties: PublishProperties,
    ) {
        let payload = payload.to_vec();
        self.client
            .publish_with_properties(topic, qos, retain, payload, properties)
            .unwrap();
        match qos {
            // A message of QoS 1 to nobody, whose acknowledgement says that this one was sent.
            QoS::AtMostOnce => {
                self.publish(
                    "nobody",
                    QoS::AtLeastOnce,
                    false,
                    b"",
                    PublishProperties::default(),
                );
            }
            QoS::AtLeastOnce => {
                self.until("PUBACK", |p| matches!(p, Packet::PubAck(_)).then_some(()));
            }
            QoS::ExactlyOnce => {
                self.until("PUBCOMP", |p| matches!(p, Packet::PubComp(_)).then_some(()));
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<Publish> {
        let next = |packet: &Packet| match packet {
            Packet::Publish(publish) => Some(publish.clone()),
            _ => None,
        };
        (0..count).map(|_| self.until("message", next)).collect()
    }

    fn expect_nothing(&mut self) {
        let deadline = Instant::now() + SILENCE;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.connection.recv_timeout(left) {
                Ok(Ok(Event::Incoming(Packet::Publish(publish)))) => panic!("{publish:?}"),
                Ok(event) => drop(event.unwrap()),
                Err(_) => return,
            }
        }
    }

    /// Says good-bye and waits until that is sent.
    fn leave(mut self) {
        self.client.disconnect().unwrap();
        while !matches!(
            self.connection.recv_timeout(PATIENCE).unwrap(),
            Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) | Err(_)
        ) {}
    }
}

#[test]
fn messages_with_properties_at_every_qos() {
    let broker = Broker::start(CORES);
    let carried = PublishProperties {
        payload_format_indicator: Some(1),
        response_topic: Some("answers".to_owned()),
        correlation_data: Some(vec![0, 255].into()),
        user_properties: vec![
            ("a".to_owned(), "1".to_owned()),
            ("a".to_owned(), "2".to_owned()),
        ],
        content_type: Some("text/plain".to_owned()),
        ..PublishProperties::default()
    };
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut to = Peer::connect(options(&broker, "to"));
        to.subscribe("m/+", qos);
        let mut from = Peer::connect(options(&broker, "from"));
        for n in 0..100_u8 {
            from.publish("m/x", qos, false, &[n; 100], carried.clone());
        }
        for (n, publish) in to.take(100).iter().enumerate() {
            assert_eq!(publish.payload[..], [u8::try_from(n).unwrap(); 100]);
            assert_eq!((publish.qos, publish.retain), (qos, false));
            assert_eq!(publish.topic[..], b"m/x"[..]);
            assert_eq!(publish.properties.as_ref(), Some(&carried));
        }
        to.expect_nothing();
        to.leave();
        from.leave();
    }
    broker.stop();
}

#[test]
fn an_id_is_assigned() {
    let broker = Broker::start(CORES);
    let assigned = || {
        let peer = Peer::connect(options(&broker, ""));
        let properties = peer.connack.clone().unwrap().properties.unwrap();
        properties.assigned_client_identifier.unwrap()
    };
    assert_ne!(assigned(), assigned());
    broker.stop();
}

#[test]
fn retained_and_will() {
    let broker = Broker::start(CORES);
    let mut heir = Peer::connect(options(&broker, "heir"));
    heir.subscribe("r/#", QoS::AtLeastOnce);
    let mut with_will = options(&broker, "testator");
    with_will.set_last_will(LastWill::new(
        "r/will",
        "last",
        QoS::AtLeastOnce,
        true,
        None,
    ));
    drop(Peer::connect(with_will));
    let got = heir.take(1);
    assert_eq!((&got[0].payload[..], got[0].retain), (&b"last"[..], false));
    let mut late = Peer::connect(options(&broker, "late"));
    late.subscribe("r/+", QoS::AtLeastOnce);
    let got = late.take(1);
    assert_eq!((&got[0].payload[..], got[0].retain), (&b"last"[..], true));
    broker.stop();
}

#[test]
fn a_session_is_resumed() {
    let broker = Broker::start(CORES);
    let kept = || {
        let mut options = options(&broker, "kept");
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(60));
        options
    };
    let mut to = Peer::connect(kept());
    assert!(!to.session_present());
    to.subscribe("s", QoS::ExactlyOnce);
    to.leave();
    let mut from = Peer::connect(options(&broker, "from"));
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for n in 0..50_u8 {
            from.publish("s", qos, false, &[n], PublishProperties::default());
        }
        let mut to = Peer::connect(kept());
        assert!(to.session_present());
        let got: Vec<u8> = to
            .take(50)
            .iter()
            .map(|publish| publish.payload[0])
            .collect();
        assert_eq!(got, (0..50).collect::<Vec<u8>>());
        to.expect_nothing();
        to.leave();
    }
    broker.stop();
}
