//! The few wire types of protobuf that an event needs.
//!
//! ```text
//! key    = varint(field << 3 | type)
//! type   = 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes
//! varint = seven bits a byte, low first, the top bit set on all but the last
//! ```

const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const BYTES: u64 = 2;
const FOUR_BYTES: u64 = 5;

/// A message under construction; fields in the order of the calls.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn varint(&mut self, field: u64, value: u64) {
        self.raw_varint(field << 3 | VARINT);
        self.raw_varint(value);
    }

    pub(super) fn double(&mut self, field: u64, value: f64) {
        self.raw_varint(field << 3 | EIGHT_BYTES);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn float(&mut self, field: u64, value: f32) {
        self.raw_varint(field << 3 | FOUR_BYTES);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, field: u64, value: &[u8]) {
        self.raw_varint(field << 3 | BYTES);
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A packed repeated double.
    pub(super) fn doubles(&mut self, field: u64, values: &[f64]) {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(field, &packed);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_those_of_the_protobuf_guide() {
        let mut message = Message::default();
        message.varint(1, 150);
        assert_eq!(message.as_bytes(), [0x08, 0x96, 0x01]);
        let mut message = Message::default();
        message.bytes(2, b"testing");
        assert_eq!(message.as_bytes(), b"\x12\x07testing");
    }

    #[test]
    fn a_negative_step_takes_ten_bytes() {
        let mut message = Message::default();
        message.varint(2, -1i64 as u64);
        let mut bytes = vec![0x10];
        bytes.extend([0xff; 9]);
        bytes.push(0x01);
        assert_eq!(message.as_bytes(), bytes);
    }
}
