name               = "prod"
kubernetes_version = "1.34"
agent_version      = "2.0.3"
