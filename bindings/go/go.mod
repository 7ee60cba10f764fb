module rekindle

go 1.23
