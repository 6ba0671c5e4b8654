// SPDX-License-Identifier: Apache-2.0
// Two functions that node compiles at once: mixer does the work, middle calls it.
function mixer(x) {
	let y = x;

	for (let i = 0; i < 200000; i++)
		y = (y * 1103515245 + 12345) & 0x7fffffff;
	return y;
}

function middle(x) {
	let sum = 0;

	for (let i = 0; i < 20; i++)
		sum += mixer(x + i);
	return sum;
}

const end = Date.now() + 1000 * Number(process.argv[2] || 5);
let sum = 0;

while (Date.now() < end)
	sum += middle(sum & 1023);
console.log("{}");
