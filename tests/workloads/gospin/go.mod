module example.test/gospin

go 1.18
