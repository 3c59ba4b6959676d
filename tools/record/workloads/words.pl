# SPDX-License-Identifier: MIT
# Word frequencies, neighbours and line lengths of the files named, sorted: hashes of hashes, many
# short strings, arrays that grow. Prints the most frequent words.
use strict;
use warnings;

my (%count, %after, %lines, @lengths);
for my $file (@ARGV) {
    open my $in, '<', $file or die "$file: $!\n";
    my $before = '';
    while (my $line = <$in>) {
        push @lengths, length $line;
        $lines{$file}{length $line}++;
        for my $word ($line =~ /[A-Za-z_]\w+/g) {
            $count{lc $word}++;
            $after{lc $before}{lc $word}++ if $before;
            $before = $word;
        }
    }
    close $in;
}

my @sorted = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
printf "%d files, %d lines, %d words, %d different\n", scalar @ARGV, scalar @lengths,
    eval { my $sum = 0; $sum += $_ for values %count; $sum }, scalar @sorted;
for my $word (@sorted[0 .. ($#sorted < 19 ? $#sorted : 19)]) {
    my $next = $after{$word} || {};
    my ($best) = sort { $next->{$b} <=> $next->{$a} || $a cmp $b } keys %$next;
    printf "%6d %s %s\n", $count{$word}, $word, $best // '-';
}
my %by_ending;
push @{ $by_ending{ substr $_, -2 } }, scalar reverse $_ for @sorted;
printf "%d endings, longest list %d\n", scalar keys %by_ending,
    (sort { $b <=> $a } map { scalar @$_ } values %by_ending)[0];
