resource "example_cluster" "this" {
  name    = var.name
  version = var.kubernetes_version
}
