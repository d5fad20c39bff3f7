//! The border to etcd: the only place where its bytes become model types.
//!
//! Values are JSON, so that `etcdctl get` shows them to a person on a bad day. What cannot be read is
//! an error that names the key and says what to do; it never stops the node.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::Versioned;

/// A value in etcd that is not what its key promises.
#[derive(Debug, thiserror::Error)]
#[error(
    "etcd: the value of {key} (revision {revision}, {length} bytes) cannot be read: {source}. It was \
     written by another version of Meridian or by hand: look at it with `etcdctl get {key}`, then let \
     the node that owns it write it anew, or delete it"
)]
pub struct DecodeError {
    /// Which.
    pub key: String,
    /// As of which write.
    pub revision: i64,
    /// How long the value is, in bytes. The value itself is not repeated here.
    pub length: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

/// Reads a value.
///
/// # Errors
/// [`DecodeError`] when the value is not JSON of that shape.
pub fn decode<T: DeserializeOwned>(entry: &Versioned) -> Result<T, DecodeError> {
    serde_json::from_slice(&entry.value).map_err(|source| DecodeError {
        key: entry.key.clone(),
        revision: entry.revision,
        length: entry.value.len(),
        source,
    })
}

/// Writes a value; the same value gives the same bytes, so that [`crate::Compare::Value`] can be used.
///
/// The types of `model` have text keys only and cannot fail to encode; were one to, the empty value
/// is refused by whoever decodes it.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::Epoch;

    fn entry(value: &[u8]) -> Versioned {
        Versioned { key: "/meridian/shop/groups/orders/epoch".to_owned(), value: value.to_vec(), revision: 9 }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let epoch: Epoch = decode(&entry(&encode(&Epoch(7)))).unwrap();
        assert_eq!(epoch, Epoch(7));
    }

    #[test]
    fn rubbish_gives_an_error_that_names_the_key_and_the_way_out() {
        for rubbish in [&b""[..], b"null", b"-1", b"{", b"\xff\xfe", b"18446744073709551616"] {
            let text = decode::<Epoch>(&entry(rubbish)).unwrap_err().to_string();
            assert!(text.contains("/meridian/shop/groups/orders/epoch"), "{text}");
            assert!(text.contains("etcdctl get"), "{text}");
        }
    }
}
