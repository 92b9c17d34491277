//! The bodies of the fuzz targets `device_messages` and `roster`, on stable Rust over fixed seeds.

#[path = "../../../fuzz/src/fleet.rs"]
#[allow(dead_code, unreachable_pub)]
mod fleet;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

const SEEDS: [&str; 5] = [
    r#"{"Info1":{"Module":"Generic","Version":"14.3.0(safeboot)","FallbackTopic":"cmnd/DVES_3D5E26_fb/"}}"#,
    r#"{"ip":"192.168.1.31","dn":"Kitchen","mac":"A0B1C23D5E26","sw":"15.0.1","t":"plug","ft":"%prefix%/%topic%/","tp":["cmnd","stat","tele"]}"#,
    r#"{"StatusFWR":{"Version":"15.0.1(tasmota32)","Hardware":"ESP32-C3 v0.4"},"StatusSTS":{"UptimeSec":3,"Wifi":{"BSSId":"10:20:30:40:50:60"}}}"#,
    r#"{"name":"door","mac":"a0b1c23d5e26","version":"2024.6.1","platform":"ESP32"}"#,
    r#"{"dev":{"ids":["a0b1c23d5e26"],"sw":"esphome v2024.6.1"},"cmd_t":"~/x","~":"y"}"#,
];

#[test]
fn damaged_messages_are_read_without_harm() {
    let mut chance = Chance(7);
    for seed in SEEDS {
        for topic in 0..12 {
            for _ in 0..200 {
                let mut data = seed.as_bytes().to_vec();
                for _ in 0..chance.below(4) {
                    let at = chance.below(data.len());
                    data[at] = chance.below(256) as u8;
                }
                data.truncate(data.len() - chance.below(8));
                data.insert(0, topic);
                fleet::messages(&data);
            }
        }
    }
}

#[test]
fn sightings_in_any_order_keep_the_roster_whole() {
    let mut chance = Chance(11);
    for _ in 0..400 {
        let data: Vec<u8> = (0..chance.below(1_500))
            .map(|_| chance.below(256) as u8)
            .collect();
        fleet::roster(&data);
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
