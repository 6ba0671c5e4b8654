// SPDX-License-Identifier: Apache-2.0

// Goroutines that spin through a method, a generic function, a leaf without a frame and an inlined call, while
// others allocate so that the garbage collector changes between stacks.
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

//go:noinline
func spin(x uint64, n int) uint64 {
	for i := 0; i < n; i++ {
		x = mix(x)
	}
	return x
}

func mix(x uint64) uint64 {
	x ^= x << 13
	x ^= x >> 7
	return x ^ x<<17
}

//go:noinline
func middle[T any](x uint64, _ T) uint64 { return spin(x, 100000) + 1 }

type worker struct{ sum uint64 }

//go:noinline
func (w *worker) run(end time.Time) {
	for time.Now().Before(end) {
		w.sum += middle(w.sum+1, "x")
	}
}

type tree struct {
	left, right *tree
	name        string
}

//go:noinline
func grow(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{grow(depth - 1), grow(depth - 1), fmt.Sprint(depth)}
}

//go:noinline
func allocate(end time.Time) (kept *tree) {
	for time.Now().Before(end) {
		kept = grow(12)
	}
	return
}

func main() {
	seconds, _ := strconv.ParseFloat(os.Args[1], 64)
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	var wait sync.WaitGroup
	for i := 0; i < 4; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			if i%2 == 0 {
				w := &worker{sum: uint64(i)}
				w.run(end)
			} else {
				allocate(end)
			}
		}(i)
	}
	wait.Wait()
	fmt.Println("{}")
}
