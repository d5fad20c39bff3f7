//! Does a name server answer for a name, with authority? One question over UDP, as a resolver would ask it.
//!
//! The question is small and fixed, and of the answer only its head matters (RFC 1035, 4.1.1).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use meridian_telemetry::clock;
use tokio::net::UdpSocket;

/// It is asked on the same machine.
const WITHIN: Duration = Duration::from_secs(2);
/// More than a UDP answer without extensions may be.
const ANSWER_MAX: usize = 4_096;

/// Asks for the IPv4 addresses of `name`.
///
/// # Errors
/// What is wrong with the answer, in a few words.
pub(super) async fn answers(server: SocketAddr, name: &str) -> Result<(), String> {
    let id = u16::try_from(clock::now().as_nanos() & 0xFFFF).unwrap_or(1);
    let question = question(id, name).ok_or_else(|| format!("`{name}` is no name that can be asked for"))?;
    let exchange = async {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(server).await?;
        socket.send(&question).await?;
        let mut answer = vec![0; ANSWER_MAX];
        let read = socket.recv(&mut answer).await?;
        answer.truncate(read);
        Ok::<_, std::io::Error>(answer)
    };
    match tokio::time::timeout(WITHIN, exchange).await {
        Ok(Ok(answer)) => judge(id, &answer),
        Ok(Err(error)) => Err(format!("{server}: {error}")),
        Err(_) => Err(format!("{server} did not answer within {WITHIN:?}")),
    }
}

/// A question for `A` in the class `IN`; none for what is no host name.
fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    // No recursion; one question, nothing else.
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    (bytes.len() <= 12 + 255 + 4).then_some(bytes)
}

fn judge(id: u16, answer: &[u8]) -> Result<(), String> {
    let [high, low, flags, codes, ..] = answer else { return Err("its answer is cut short".to_owned()) };
    let (is_answer, authority, code) = (flags & 0x80 != 0, flags & 0x04 != 0, codes & 0x0F);
    if u16::from_be_bytes([*high, *low]) != id || !is_answer {
        return Err("what came is no answer to the question".to_owned());
    }
    match code {
        0 if authority => Ok(()),
        0 => Err("it answers without authority: the zone is not its own".to_owned()),
        2 => Err("it has failed (SERVFAIL)".to_owned()),
        3 => Err("it says that there is no such name (NXDOMAIN)".to_owned()),
        5 => Err("it refuses (REFUSED): the zone is not its own".to_owned()),
        other => Err(format!("it answers with code {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name server that answers the next question with these flags.
    async fn server(flags: u8, codes: u8) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut question = vec![0; 512];
            let (read, from) = socket.recv_from(&mut question).await.unwrap();
            question.truncate(read);
            assert!(question.windows(17).any(|w| w == b"\x04shop\x07example\x03com"), "{question:?}");
            (question[2], question[3]) = (flags, codes);
            socket.send_to(&question, from).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn only_an_answer_with_authority_is_one() {
        let ask = async |flags, codes| answers(server(flags, codes).await, "shop.example.com").await;
        assert_eq!(ask(0x84, 0).await, Ok(()));
        for (flags, codes, told) in [
            (0x80, 0, "without authority"),
            (0x84, 3, "no such name"),
            (0x80, 5, "refuses"),
            (0x84, 2, "SERVFAIL"),
            (0x84, 4, "code 4"),
            (0x04, 0, "no answer to the question"),
        ] {
            let problem = ask(flags, codes).await.unwrap_err();
            assert!(problem.contains(told), "{problem}");
        }
        assert!(judge(1, &[0, 1, 0x84]).unwrap_err().contains("cut short"));
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_asked_for_and_a_port_without_a_server_are_told() {
        let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(answers(nobody, "shop.example.com").await.unwrap_err().contains(&nobody.to_string()));
        let long = "a".repeat(64);
        for name in ["", "a..b", long.as_str()] {
            assert!(answers(nobody, name).await.unwrap_err().contains("no name"), "{name}");
        }
    }
}
