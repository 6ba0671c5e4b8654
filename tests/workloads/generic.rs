// SPDX-License-Identifier: Apache-2.0
// Is only compiled: keeps rustc, and LLVM behind it, busy for a while with generic code.
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

trait Weigh: Debug {
    fn weigh(&self, by: usize) -> usize;
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Tag<const N: usize, T> {
    inner: T,
    words: Vec<String>,
}

impl<const N: usize, T: Clone + Debug + Ord + std::hash::Hash> Weigh for Tag<N, T> {
    fn weigh(&self, by: usize) -> usize {
        let mut sorted: BTreeMap<Tag<N, T>, Vec<(usize, T)>> = BTreeMap::new();
        let mut hashed: HashMap<(T, usize), String> = HashMap::new();
        for (i, word) in self.words.iter().enumerate() {
            sorted.entry(self.clone()).or_default().push((i * N, self.inner.clone()));
            hashed.insert((self.inner.clone(), i + by), format!("{word}-{N}-{:?}", self.inner));
        }
        let longest = hashed.values().map(|s| s.chars().filter(|c| c.is_alphanumeric()).count()).max();
        sorted.values_mut().for_each(|v| v.sort_by(|a, b| b.cmp(a)));
        sorted.len() + longest.unwrap_or(N)
    }
}

macro_rules! boxes {
    ($($n:literal)*) => {
        fn all(words: &[String]) -> Vec<Box<dyn Weigh>> {
            vec![$(
                Box::new(Tag::<$n, u32> { inner: $n, words: words.to_vec() }) as Box<dyn Weigh>,
                Box::new(Tag::<$n, String> { inner: words.concat(), words: words.to_vec() }),
                Box::new(Tag::<$n, (u8, [i64; $n])> { inner: ($n as u8, [$n; $n]), words: words.to_vec() }),
            )*]
        }
    };
}

boxes!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);

fn main() {
    let words: Vec<String> = std::env::args().collect();
    println!("{}", all(&words).iter().map(|one| one.weigh(words.len())).sum::<usize>());
}
