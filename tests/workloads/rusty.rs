// SPDX-License-Identifier: Apache-2.0
// Rust: a generic function, and a closure below an iterator; says how much CPU time each got.
use std::hint::black_box;

mod shop {
    #[inline(never)]
    pub fn generic<T: Into<u64> + Copy>(start: T, rounds: u64) -> u64 {
        let mut x: u64 = start.into();
        for _ in 0..rounds {
            x = std::hint::black_box(x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407));
        }
        x
    }

    pub struct Till;
    impl Till {
        #[inline(never)]
        pub fn count(&self, rounds: u64) -> u64 {
            (0..rounds).fold(1u64, |x, i| std::hint::black_box(x.wrapping_mul(31).wrapping_add(i)))
        }
    }
}

// CPU seconds of this thread, as the scheduler counts them (proc_pid_schedstat(5)).
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn main() {
    let wanted: f64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(5.0);
    let (mut a, mut b) = (0.0, 0.0);
    while a + b < wanted {
        let begin = cpu();
        black_box(shop::generic(7u32, 3_000_000));
        a += cpu() - begin;
        let begin = cpu();
        black_box(shop::Till.count(3_000_000));
        b += cpu() - begin;
    }
    println!("{{\"generic\": {:.6}, \"count\": {:.6}}}", a, b);
}
