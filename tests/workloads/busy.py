# SPDX-License-Identifier: Apache-2.0
"""The interpreter and what it is made of: JSON, regular expressions, zlib, sorting, classes. Never ends."""
import json, re, zlib
def words(n):
    return [str(i * 7919 % 104729) for i in range(n)]
class Node:
    def __init__(self, depth):
        self.kids = [Node(depth - 1) for _ in range(3)] if depth else []
    def size(self):
        return 1 + sum(kid.size() for kid in self.kids)
while True:
    text = json.dumps({word: words(20) for word in words(2000)})
    json.loads(text)
    re.sub(r'(\d)(\d+)', r'\2\1', text)
    zlib.compress(text.encode())
    sorted(words(20000), key=lambda word: word[::-1])
    Node(7).size()
