name               = "staging"
kubernetes_version = "1.35"
