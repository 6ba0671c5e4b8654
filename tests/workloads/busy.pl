# SPDX-License-Identifier: Apache-2.0
# Calls, hashes, regular expressions, sorting. Never ends.
use strict;
use warnings;

sub fold { my ($n) = @_; return $n < 2 ? 1 : fold($n - 1) + fold($n - 2); }
while (1) {
    my %count;
    my $text = join ' ', map { $_ * 7919 % 104729 } 1 .. 20000;
    $count{$1}++ while $text =~ /(\d)(?=\d)/g;
    my @sorted = sort { $b cmp $a } split / /, $text;
    $text =~ s/(\d+)1/<$1>/g;
    fold(18);
}
