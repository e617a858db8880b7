module github.com/lvsx/lvsx

go 1.26
