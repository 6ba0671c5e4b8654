// SPDX-License-Identifier: Apache-2.0
// What servers in JavaScript do: closures, sorting by a callback, regular expressions, JSON, classes, promises,
// and enough garbage to be collected. Never ends.
class Shape {
	constructor(size) {
		this.size = size;
	}
	area() {
		return this.size * this.size;
	}
}

class Circle extends Shape {
	area() {
		return super.area() * Math.PI;
	}
}

function fib(n) {
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

function words(n) {
	return Array.from({ length: n }, (_, i) => String((i * 7919) % 104729));
}

function round() {
	const many = words(3000);

	many.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
	const kept = JSON.parse(JSON.stringify(Object.fromEntries(many.map((word, i) => [word, { i, word }]))));
	const text = many.join(" ").replace(/(\d)(\d+)/g, (_, a, b) => b + a);
	const found = text.match(/1+2?3*[4-9]/g) || [];
	const shapes = many.map((word, i) => (i % 2 ? new Shape(i) : new Circle(i)));
	const sum = shapes.reduce((total, shape) => total + shape.area(), 0);

	return fib(18) + found.length + sum + Object.keys(kept).length;
}

async function forever() {
	for (let total = 0; ; total += round())
		await new Promise((resolve) => setImmediate(resolve));
}

forever();
