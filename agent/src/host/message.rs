//! Netlink messages as they come from the kernel, read without trust in their lengths.

use std::io;

use crate::host::netlink::KernelError;

/// Sizes of linux/netlink.h, in bytes.
pub(super) const HEADER: usize = 16;
const ERROR_CODE: usize = 4;
/// Message types and flags of linux/netlink.h.
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One netlink message in a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    /// What an NLMSG_ERROR or NLMSG_DONE says; `None` is an acknowledgement.
    pub(super) fn refusal(&self) -> Option<KernelError> {
        let errno = -read_i32(self.body).unwrap_or(0);
        if errno == 0 {
            return None;
        }
        let error = KernelError::from(io::Error::from_raw_os_error(errno));
        match self.own_words() {
            Some(text) => Some(KernelError::new(errno, text)),
            None => Some(error),
        }
    }

    /// The text that the kernel adds to an error since 4.12 (extended acknowledgement).
    fn own_words(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let request = match self.kind {
            NLMSG_DONE => 0,
            _ if self.flags & NLM_F_CAPPED != 0 => HEADER,
            _ => (read_u32(self.body.get(ERROR_CODE..)?)? as usize).next_multiple_of(4),
        };
        let text = attribute(self.body.get(ERROR_CODE + request..)?, NLMSGERR_ATTR_MSG)?;
        Some(read_text(text))
    }
}

/// The messages of one datagram; an error ends them.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, KernelError>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let length = read_u32(datagram).map(|length| length as usize);
        let Some(bytes) = length.filter(|&l| l >= HEADER).and_then(|l| datagram.get(..l)) else {
            datagram = &[];
            return Some(Err(KernelError::new(libc::EBADMSG, "a netlink message is cut short")));
        };
        datagram = datagram.get(bytes.len().next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(Message {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            sequence: u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            body: &bytes[HEADER..],
        }))
    })
}

/// The attributes of a message, as type and value; whatever is cut short ends them.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// The two highest bits of the type are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
    const TYPE: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of a type.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(k, value)| (k == kind).then_some(value))
}

pub(super) fn read_u16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?))
}

/// Adds an attribute to a message's body.
pub(super) fn append(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("values are short, or come from attributes");
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A message's body as records keep it.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A body as it was kept, of at least that many bytes.
///
/// # Errors
/// EBADMSG when the record is damaged; `text` says of what.
pub(super) fn from_hex(digits: &str, least: usize, text: &str) -> Result<Vec<u8>, KernelError> {
    let pairs = digits.as_bytes().chunks(2);
    let pairs = pairs.map(|pair| std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2));
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    bytes
        .filter(|bytes| bytes.len() >= least)
        .ok_or_else(|| KernelError::new(libc::EBADMSG, format!("the record of \"{text}\" is damaged")))
}

pub(super) fn read_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn read_i32(bytes: &[u8]) -> Option<i32> {
    read_u32(bytes).map(u32::cast_signed)
}

/// Text up to its NUL. Names of links are any bytes; ours are ASCII.
pub(super) fn read_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_that_is_cut_short_is_an_error_and_not_a_panic() {
        let mut whole = vec![0; HEADER + 4];
        whole[0] = 20;

        for cut in 1..whole.len() {
            assert!(messages(&whole[..cut]).any(|message| message.is_err()), "cut at {cut}");
        }
        assert_eq!(messages(&whole).filter(Result::is_ok).count(), 1);
    }

    #[test]
    fn attributes_with_impossible_lengths_end_the_list() {
        for bytes in [&[0, 0, 1, 0][..], &[3, 0, 1, 0], &[255, 255, 1, 0, 9], &[8, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(attribute(&[5, 0, 7, 0, 42, 0, 0, 0], 7), Some(&[42][..]));
    }

    #[test]
    fn the_kernels_own_words_are_read_from_a_refusal() {
        let words = b"no way\0";
        let mut body = (-libc::EINVAL).to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        body.extend([(4 + words.len()) as u8, 0, 1, 0]);
        body.extend(words);

        let flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
        let refusal = Message { kind: NLMSG_ERROR, flags, sequence: 0, body: &body }.refusal();

        assert_eq!(refusal, Some(KernelError::new(libc::EINVAL, "no way")));
    }
}
