//! Packets as bytes, for what no encoder of packets can be asked to say.

use bench_harness::codec::Version;

/// A field with its length of two bytes in front.
pub fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A whole packet: fixed header and body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    out.extend(variable_byte_integer(body.len()));
    out.extend_from_slice(body);
    out
}

/// In its shortest form.
pub fn variable_byte_integer(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(value % 128).unwrap();
        value /= 128;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// Properties with their length in front; nothing before version 5.
pub fn properties(version: Version, bytes: &[u8]) -> Vec<u8> {
    if version == Version::V5 {
        [variable_byte_integer(bytes.len()), bytes.to_vec()].concat()
    } else {
        Vec::new()
    }
}

/// A PUBLISH of QoS 0.
pub fn publish(version: Version, topic: &[u8], payload: &[u8]) -> Vec<u8> {
    publish_with(version, topic, &[], payload)
}

/// A PUBLISH of QoS 0 with properties.
pub fn publish_with(version: Version, topic: &[u8], bytes: &[u8], payload: &[u8]) -> Vec<u8> {
    let body = [field(topic), properties(version, bytes), payload.to_vec()].concat();
    packet(0x30, &body)
}

/// A SUBSCRIBE with packet identifier 1: filter and options byte.
pub fn subscribe(version: Version, filter: &[u8], options: u8) -> Vec<u8> {
    let body = [
        vec![0, 1],
        properties(version, &[]),
        field(filter),
        vec![options],
    ]
    .concat();
    packet(0x82, &body)
}

/// An UNSUBSCRIBE with packet identifier 1.
pub fn unsubscribe(version: Version, filter: &[u8]) -> Vec<u8> {
    let body = [vec![0, 1], properties(version, &[]), field(filter)].concat();
    packet(0xA2, &body)
}

/// A CONNECT in all its parts.
#[derive(Clone, Debug)]
pub struct Connect {
    pub version: Version,
    pub name: Vec<u8>,
    pub level: u8,
    pub flags: u8,
    pub properties: Vec<u8>,
    /// Without the lengths that go in front of each.
    pub fields: Vec<Vec<u8>>,
}

impl Connect {
    /// A clean connection with this client identifier.
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            name: b"MQTT".to_vec(),
            level: version as u8,
            flags: 0x02,
            properties: Vec::new(),
            fields: vec![client_id.as_bytes().to_vec()],
        }
    }

    /// With these flags beside clean start, and these fields behind the client identifier.
    pub fn with(mut self, flags: u8, fields: &[&[u8]]) -> Self {
        self.flags |= flags;
        self.fields.extend(fields.iter().map(|f| f.to_vec()));
        self
    }

    /// With a will: its properties stand before its topic.
    pub fn with_will(mut self, flags: u8, topic: &[u8], payload: &[u8]) -> Vec<u8> {
        self.flags |= 0x04 | flags;
        let mut body = self.head();
        body.extend(field(&self.fields[0]));
        body.extend(properties(self.version, &[]));
        body.extend(field(topic));
        body.extend(field(payload));
        packet(0x10, &body)
    }

    fn head(&self) -> Vec<u8> {
        let mut body = field(&self.name);
        body.extend([self.level, self.flags, 0, 0]);
        body.extend(properties(self.version, &self.properties));
        body
    }

    /// The packet.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = self.head();
        for each in &self.fields {
            body.extend(field(each));
        }
        packet(0x10, &body)
    }
}
