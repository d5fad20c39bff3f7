//! Longest matches, merged scopes and half-known addresses.

use super::*;

fn networks(list: &[(&str, u16)]) -> Networks {
    Networks::new(list.iter().map(|(net, p)| (net.parse().unwrap(), *p)))
}

#[track_caller]
fn check(list: &[(&str, u16)], client: &str, population: Option<u16>, scope: u8) {
    let net: IpNet = client.parse().unwrap();
    let found = networks(list).find(net.addr(), net.prefix_len());
    assert_eq!(found, Found { population, scope }, "{client} in {list:?}");
}

#[test]
fn the_longest_match_wins_whatever_the_order() {
    let list = [("10.0.0.0/8", 0), ("10.1.0.0/16", 1), ("10.1.2.0/24", 2)];
    let turned = [list[2], list[0], list[1]];
    for list in [list, turned] {
        check(&list, "10.1.2.3/32", Some(2), 24);
        check(&list, "10.1.3.3/32", Some(1), 24);
        check(&list, "10.1.128.0/32", Some(1), 17);
        check(&list, "10.128.0.0/32", Some(0), 9);
        check(&list, "128.0.0.0/32", None, 1);
    }
}

#[test]
fn equal_neighbours_merge_into_a_wider_scope() {
    check(&[("10.0.0.0/16", 1), ("10.1.0.0/16", 1)], "10.1.0.1/32", Some(1), 15);
    check(&[("0.0.0.0/1", 1), ("128.0.0.0/1", 1)], "9.9.9.9/32", Some(1), 0);
    check(&[("10.0.0.0/8", 1), ("10.1.0.0/16", 1)], "10.1.0.1/32", Some(1), 8);
}

#[test]
fn nothing_claimed_is_one_scope() {
    check(&[], "10.0.0.1/32", None, 0);
    check(&[], "fd00::/8", None, 0);
}

#[test]
fn the_first_to_claim_a_network_keeps_it() {
    check(&[("10.0.0.0/8", 3), ("10.0.0.0/8", 4)], "10.0.0.1/32", Some(3), 8);
}

#[test]
fn too_few_bits_still_find_somebody_and_ask_for_more() {
    check(&[("10.1.2.0/24", 2)], "10.0.0.0/8", Some(2), 16);
    check(&[("10.1.2.0/24", 2), ("10.0.0.0/8", 5)], "10.0.0.0/8", Some(5), 16);
    check(&[("10.0.0.0/8", 5)], "0.0.0.0/0", Some(5), 5);
}

#[test]
fn whole_addresses_and_mapped_networks() {
    check(&[("10.0.0.1/32", 1)], "10.0.0.1/32", Some(1), 32);
    check(&[("10.0.0.1/32", 1)], "10.0.0.0/32", None, 32);
    check(&[("::1/128", 1)], "::1/128", Some(1), 128);
    check(&[("::ffff:10.0.0.0/104", 1)], "10.9.9.9/32", Some(1), 8);
}

#[test]
fn masks_of_all_lengths() {
    let v4: IpAddr = "255.255.255.255".parse().unwrap();
    assert_eq!(masked_address(v4, 0).to_string(), "0.0.0.0");
    assert_eq!(masked_address(v4, 24).to_string(), "255.255.255.0");
    assert_eq!(masked_address(v4, 32), v4);
    let v6: IpAddr = "2001:db8:ffff::1".parse().unwrap();
    assert_eq!(masked_address(v6, 128), v6);
    assert_eq!(masked_address(v6, 32).to_string(), "2001:db8::");
}
