module rekindle

go 1.22
