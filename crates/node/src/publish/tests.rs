//! A snapshot is swapped only when it says something new.

use super::*;
use meridian_model::Name;
use meridian_model::health::Health;

fn region(name: &str, health: Health, reason: &str) -> RegionHealth {
    RegionHealth { region: Name::new(name).unwrap(), health, reason: reason.to_owned(), parts: Vec::new() }
}

#[tokio::test]
async fn the_disk_comes_after_the_swap_and_has_the_newest_when_the_publisher_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path()).unwrap();
    let (system, here) = (Arc::new(crate::testing::system()), crate::testing::here());
    let new = || Publisher::new(Arc::clone(&system), here.clone(), &memory, Metrics::new(None));
    let mut publisher = new();
    let keeper = Keeper::new(memory.clone(), &publisher);
    let regions = |health| system.region_names().map(|r| region(r.as_str(), health, "")).collect::<Vec<_>>();
    let views = publisher.views();
    for (generation, health) in [(1, Health::Up), (2, Health::Unknown), (3, Health::Up)] {
        assert_eq!(publisher.publish(&regions(health), Vec::new(), None), Some(generation));
        assert_eq!(views.borrow().snapshot.generation, generation, "swapped");
    }
    assert_eq!(memory.read::<Snapshot>(FILE).unwrap(), None, "and nobody has waited for the disk");
    drop(publisher);
    keeper.run().await;
    assert_eq!(memory.read::<Snapshot>(FILE).unwrap().unwrap().generation, 3);
    assert_eq!(new().view().snapshot.generation, 3);
}
