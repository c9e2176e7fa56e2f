//! Framing: JSON-RPC over a stream has no lengths (RFC 7047 §4), so a message ends where its braces do.
//!
//! The scan goes on where it stopped, whatever pieces the bytes come in; parsing from the start at every piece would take
//! a minute for the first snapshot of a large switch.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;
use tokio_util::codec::Decoder;

/// Deepest nesting that is read. OVSDB's own messages stay below 12; the JSON parser refuses 128.
const DEPTH_MAX: usize = 100;
/// Longest message that is read, in bytes. The snapshot of 1,000 ports is below 1 MB.
const SIZE_MAX: usize = 64 << 20;
/// A buffer that grew past this for one long message, in bytes, is given back.
const BUFFER_KEPT: usize = 64 << 10;

/// Cuts a stream of JSON objects into objects. Does not check that they are JSON.
#[derive(Debug, Default)]
pub(super) struct JsonFrames {
    /// Bytes of the buffer that were looked at.
    scanned: usize,
    /// Braces and brackets that are open.
    depth: usize,
    in_string: bool,
    /// The byte before was a backslash in a string.
    escaped: bool,
}

/// Why the stream cannot be cut any further.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("a message begins with byte {0:#04x} instead of '{{'")]
    NotAnObject(u8),
    #[error("a message is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("a message is longer than {SIZE_MAX} bytes")]
    TooLong,
}

impl Decoder for JsonFrames {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        while let Some(&byte) = buffer.get(self.scanned) {
            if self.in_string {
                self.scan_string(&buffer[self.scanned..]);
                continue;
            }
            self.scanned += 1;
            match byte {
                b'{' => self.open()?,
                _ if self.depth == 0 => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => {
                        buffer.advance(1);
                        self.scanned = 0;
                    }
                    other => return Err(FrameError::NotAnObject(other)),
                },
                b'[' => self.open()?,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(Some(self.cut(buffer)));
                    }
                }
                b'"' => self.in_string = true,
                _ => {}
            }
        }
        if self.scanned > SIZE_MAX {
            return Err(FrameError::TooLong);
        }
        Ok(None)
    }
}

impl JsonFrames {
    fn open(&mut self) -> Result<(), FrameError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(FrameError::TooDeep) } else { Ok(()) }
    }

    /// Moves on to behind the string's next quote or backslash, or to the end of what is there.
    fn scan_string(&mut self, rest: &[u8]) {
        if self.escaped {
            self.escaped = false;
            self.scanned += 1;
            return;
        }
        match memchr2(b'"', b'\\', rest) {
            None => self.scanned += rest.len(),
            Some(at) => {
                self.scanned += at + 1;
                match rest[at] {
                    b'"' => self.in_string = false,
                    _ => self.escaped = true,
                }
            }
        }
    }

    fn cut(&mut self, buffer: &mut BytesMut) -> Bytes {
        let frame = buffer.split_to(self.scanned).freeze();
        self.scanned = 0;
        // What is left moves to a small buffer, so that the long one goes with the frame.
        if frame.len() > BUFFER_KEPT {
            *buffer = BytesMut::from(&buffer[..]);
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Feeds the pieces one after another, as reads of a socket would.
    fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Value>, FrameError> {
        let (mut codec, mut buffer, mut found) = (JsonFrames::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(frame) = codec.decode(&mut buffer)? {
                found.push(serde_json::from_slice(&frame).unwrap());
            }
        }
        Ok(found)
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // What could be taken for structure: quotes, backslashes, braces, and letters of several bytes.
            r#"["\\{}\[\]a-zé\n😀]{0,12}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(r#"["\\{}a-z]{0,6}"#, inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_whatever_pieces_they_came_in(
            values in prop::collection::vec(any_json(), 1..6),
            gap in "[ \t\r\n]{0,3}",
            cuts in prop::collection::vec(1_usize..40, 1..200),
        ) {
            let messages: Vec<Value> = values.into_iter().map(|value| json!({ "result": value })).collect();
            let text: String = messages.iter().map(|message| format!("{message}{gap}")).collect();
            let mut pieces = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }

            prop_assert_eq!(frames(pieces).unwrap(), messages);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (mut codec, mut buffer) = (JsonFrames::default(), BytesMut::from(&bytes[..]));
            while let Ok(Some(_)) = codec.decode(&mut buffer) {}
        }
    }

    #[test]
    fn an_escape_may_be_split_from_what_it_escapes() {
        let pieces: [&[u8]; 4] = [br#"{"a":"\"#, br#""}"#, br#"\"#, br#"\"}{"b":1}"#];

        assert_eq!(frames(pieces).unwrap(), [json!({"a": "\"}\\"}), json!({"b": 1})]);
    }

    #[test]
    fn a_long_message_in_small_pieces_is_looked_at_once() {
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(1 << 20));
        let (mut codec, mut buffer) = (JsonFrames::default(), BytesMut::new());
        let mut looked_at = 0;
        let mut found = None;

        for piece in text.as_bytes().chunks(512) {
            let before = codec.scanned;
            buffer.extend_from_slice(piece);
            found = codec.decode(&mut buffer).unwrap();
            looked_at += codec.scanned.saturating_sub(before);
        }

        assert_eq!(found.unwrap().len(), text.len());
        assert!(looked_at <= text.len(), "{looked_at} bytes were looked at");
        assert!(buffer.capacity() <= BUFFER_KEPT, "{} bytes are kept", buffer.capacity());
    }

    #[test]
    fn what_is_no_object_or_too_deep_is_refused() {
        assert!(matches!(frames([&b"[1]"[..]]), Err(FrameError::NotAnObject(b'['))));
        assert!(matches!(frames([&b"}"[..]]), Err(FrameError::NotAnObject(b'}'))));
        let deep = format!("{{{}", "[".repeat(DEPTH_MAX));
        assert!(matches!(frames([deep.as_bytes()]), Err(FrameError::TooDeep)));
    }
}
