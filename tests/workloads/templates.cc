/* SPDX-License-Identifier: Apache-2.0 */
/* Is only compiled: keeps cc1plus busy for a while with templates of its own and of the standard library. */
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#ifndef MANY
#define MANY 20
#endif

template <int N> struct tag {
	std::array<double, N % 7 + 1> values{};
	std::string name = std::to_string(N);
	bool operator<(const tag &other) const { return values < other.values; }
};

template <int N> double work(const std::vector<std::string> &words)
{
	std::map<tag<N>, std::vector<std::tuple<int, std::string, tag<N>>>> table;
	std::unordered_map<std::string, std::function<double(tag<N>)>> calls;
	std::variant<int, double, std::string, tag<N>> some = words.empty() ? std::variant<int, double, std::string, tag<N>>(N) :
									      words[0];
	double sum = 0;

	for (const auto &word : words) {
		tag<N> key;

		key.values[0] = static_cast<double>(word.size());
		table[key].emplace_back(N, word, key);
		calls[word] = [&sum](tag<N> t) { return sum += std::accumulate(t.values.begin(), t.values.end(), 0.0); };
	}
	for (auto &[key, list] : table)
		std::sort(list.begin(), list.end(),
			  [](const auto &a, const auto &b) { return std::get<1>(a) < std::get<1>(b); });
	sum += std::visit([](const auto &is) { return static_cast<double>(sizeof(is)); }, some);
	return sum + static_cast<double>(std::count_if(words.begin(), words.end(), [](const std::string &word) {
		return std::regex_match(word, std::regex("[a-z]+" + std::to_string(N)));
	}));
}

template <int... N> double all(const std::vector<std::string> &words, std::integer_sequence<int, N...>)
{
	return (work<N>(words) + ...);
}

double everything(const std::vector<std::string> &words)
{
	return all(words, std::make_integer_sequence<int, MANY>{});
}
